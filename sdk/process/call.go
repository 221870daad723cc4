package process

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
	"github.com/trowel-build/trowel/sdk/process/wire"
)

var (
	errCallEnded = errors.New("the call has ended")
	errCancelled = &sdk.Error{Code: sdk.CodeCancelled, Message: "the host waits for this call no longer"}
	errNoMore    = errors.New("the host takes no more of this stream")
)

// call is a call that is being answered: the [abi.Host] of whoever answers it.
type call struct {
	session *session
	id      uint32
	cancel  context.CancelCauseFunc

	mu      sync.Mutex
	ended   bool
	next    uint32
	waiting map[uint32]chan []byte // host calls
	reads   map[uint32]*wire.Queue
	writes  map[uint32]*wire.Credit
}

func newCall(s *session, id uint32, cancel context.CancelCauseFunc) *call {
	return &call{
		session: s, id: id, cancel: cancel,
		waiting: map[uint32]chan []byte{}, reads: map[uint32]*wire.Queue{}, writes: map[uint32]*wire.Credit{},
	}
}

// take takes a frame of the call.
func (c *call) take(f wire.Frame) error {
	switch f.Kind {
	case wire.KindCancel:
		c.cancel(errCancelled)
	case wire.KindHostAnswer:
		c.hostAnswer(f)
	case wire.KindWindow:
		c.credit(f.ID).Add(int(f.Window))
	case wire.KindData:
		return c.queue(f.ID).Put(f.Body)
	case wire.KindEnd:
		c.endStream(f)
	}
	return nil
}

func (c *call) hostAnswer(f wire.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer, waits := c.waiting[f.ID]; waits {
		answer <- f.Body // there is room for the one answer
		delete(c.waiting, f.ID)
		<-c.session.hostCalls
	}
}

// endStream takes the end of a stream. Which way it flows the plugin may not know yet.
func (c *call) endStream(f wire.Frame) {
	err := io.EOF
	if len(f.Body) > 0 {
		err = errors.New(string(f.Body))
	}
	c.queue(f.ID).End(err)
	c.credit(f.ID).Fail(errNoMore)
}

func (c *call) queue(stream uint32) *wire.Queue {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.reads[stream]
	if q == nil {
		q = wire.NewQueue(func(bytes int) {
			_ = c.send(&wire.Frame{Kind: wire.KindWindow, ID: stream, Window: uint32(bytes)}) // see send
		})
		c.reads[stream] = q
	}
	return q
}

func (c *call) credit(stream uint32) *wire.Credit {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.writes[stream]
	if w == nil {
		w = wire.NewCredit()
		c.writes[stream] = w
	}
	return w
}

// send sends a frame of the call, unless it has ended. An error means that the session ends, and with it the context of
// the call.
func (c *call) send(f *wire.Frame) error {
	c.mu.Lock()
	ended := c.ended
	c.mu.Unlock()
	if ended {
		return errCallEnded
	}
	f.Call = c.id
	return c.session.stream.send(f)
}

// end keeps what the plugin left running from sending more.
func (c *call) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for range c.waiting {
		<-c.session.hostCalls
	}
	c.waiting = nil
}

// Do performs an operation of the host. The host is answering it, and it counts as waiting, even when nobody waits for the
// answer any more.
func (c *call) Do(ctx context.Context, op abi.HostOp, request []byte) ([]byte, error) {
	if len(request) > abi.MaxRequest {
		return nil, &sdk.Error{Code: sdk.CodeLimit, Message: "the request to the host is larger than 16 MiB"}
	}
	select {
	case c.session.hostCalls <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	answer := make(chan []byte, 1)
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		<-c.session.hostCalls
		return nil, errCallEnded
	}
	c.next++
	id := c.next
	c.waiting[id] = answer
	c.mu.Unlock()
	if err := c.send(&wire.Frame{Kind: wire.KindHostCall, ID: id, Op: uint32(op), Body: request}); err != nil {
		return nil, err
	}
	select {
	case envelope := <-answer:
		return envelope, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Log shows a message to the user.
func (c *call) Log(_ context.Context, level sdk.Level, text string) {
	op := wire.LogDebug
	switch level {
	case sdk.LevelInfo:
		op = wire.LogInfo
	case sdk.LevelWarning:
		op = wire.LogWarning
	case sdk.LevelError:
		op = wire.LogError
	}
	_ = c.send(&wire.Frame{Kind: wire.KindLog, Op: op, Body: []byte(text[:min(len(text), abi.MaxLog)])}) // see send
}

// Reader is a stream that the request named.
func (c *call) Reader(ctx context.Context, stream uint32) io.Reader {
	q := c.queue(stream)
	return readFunc(func(p []byte) (int, error) {
		q.Open() // at the first read: what nobody reads is not sent
		return q.Read(ctx, p)
	})
}

// Writer is a stream that the request named.
func (c *call) Writer(ctx context.Context, stream uint32) io.Writer {
	credit := c.credit(stream)
	return writeFunc(func(p []byte) (int, error) {
		written := 0
		for written < len(p) {
			n, err := credit.Take(ctx, min(len(p)-written, wire.Chunk))
			if err != nil {
				return written, err
			}
			if err := c.send(&wire.Frame{Kind: wire.KindData, ID: stream, Body: p[written : written+n]}); err != nil {
				return written, err
			}
			written += n
		}
		return written, nil
	})
}

// SharesFiles says that the host sees the files that this process sees.
func (c *call) SharesFiles() bool { return true }

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

type writeFunc func(p []byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }

var (
	_ abi.Host       = (*call)(nil)
	_ abi.FileSharer = (*call)(nil)
)
