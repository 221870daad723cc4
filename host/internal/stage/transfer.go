package stage

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/trowel-build/trowel/host/internal/progress"
)

// transfer shows bytes on their way.
type transfer struct {
	engine  *Engine
	id      string
	total   int64
	current int64
	shown   time.Time
}

// showEvery is how often the progress of a transfer is reported.
const showEvery = 100 * time.Millisecond

func (e *Engine) transfer(name string, total int64) *transfer {
	t := &transfer{engine: e, id: fmt.Sprintf("transfer/%s", e.place()), total: total, shown: time.Now()}
	e.Progress.Report(progress.Event{Time: time.Now(), Kind: progress.KindTransferStarted, ID: t.id, Name: name, Total: total})
	return t
}

// reader counts what is read.
func (t *transfer) reader(r io.Reader) io.Reader { return &countingReader{r, t} }

type countingReader struct {
	io.Reader
	t *transfer
}

// Read is [io.Reader]'s.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	t := c.t
	t.current += int64(n)
	if now := time.Now(); now.Sub(t.shown) >= showEvery {
		t.shown = now
		t.engine.Progress.Report(progress.Event{Time: now, Kind: progress.KindTransferred, ID: t.id, Current: t.current, Total: t.total})
	}
	return n, err
}

func (t *transfer) done(ctx context.Context, err error) {
	ev := progress.Event{Time: time.Now(), Kind: progress.KindTransferDone, ID: t.id, Current: t.current, Total: t.total, Status: progress.StatusDone}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		ev.Status = progress.StatusCancelled
	default:
		ev.Status, ev.Error = progress.StatusFailed, err.Error()
	}
	t.engine.Progress.Report(ev)
}
