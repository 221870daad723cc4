package progress

import (
	"context"
	"io"
	"time"
)

// Transfer shows bytes on their way. It is for one goroutine.
type Transfer struct {
	to      Reporter
	id      string
	total   int64
	current int64
	shown   time.Time
}

// showEvery is how often the progress of a transfer is reported.
const showEvery = 100 * time.Millisecond

// StartTransfer starts to show a transfer; total is 0 if nobody knows it.
func StartTransfer(to Reporter, id, name string, total int64) *Transfer {
	t := &Transfer{to: to, id: id, total: total, shown: time.Now()}
	to.Report(Event{Time: time.Now(), Kind: KindTransferStarted, ID: id, Name: name, Total: total})
	return t
}

// Restart goes back to the start, with another total.
func (t *Transfer) Restart(total int64) { t.current, t.total = 0, max(total, 0) }

// Reader counts what is read.
func (t *Transfer) Reader(r io.Reader) io.Reader { return &countingReader{r, t} }

type countingReader struct {
	io.Reader
	t *Transfer
}

// Read is [io.Reader]'s.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	t := c.t
	t.current += int64(n)
	if now := time.Now(); now.Sub(t.shown) >= showEvery {
		t.shown = now
		t.to.Report(Event{Time: now, Kind: KindTransferred, ID: t.id, Current: t.current, Total: t.total})
	}
	return n, err
}

// Done ends the transfer.
func (t *Transfer) Done(ctx context.Context, err error) {
	ev := Event{Time: time.Now(), Kind: KindTransferDone, ID: t.id, Current: t.current, Total: t.total, Status: StatusDone}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		ev.Status = StatusCancelled
	default:
		ev.Status, ev.Error = StatusFailed, err.Error()
	}
	t.to.Report(ev)
}
