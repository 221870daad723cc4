package transport

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/trowel-build/trowel/sdk/abi"
)

// slowest is how slowly the streams of a call may move, in bytes a second.
const slowest = 64 << 10

// Patience bounds a call: it may take its limit, and a second more for each 64 KiB that its streams move, so that a large
// blob is not cut off and a plugin cannot hold the host up by a byte now and then. The returned context ends with cause when
// the time is over; the returned streams must take the place of the given ones. The caller calls stop when the call is over.
func Patience(ctx context.Context, limit time.Duration, cause error, streams abi.Streams) (_ context.Context, _ abi.Streams, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &patience{start: time.Now(), limit: limit, cancel: func() { cancel(cause) }}
	p.timer.Store(time.AfterFunc(limit, p.over))
	counted := make(abi.Streams, len(streams))
	for number, s := range streams {
		counted[number] = p.count(s)
	}
	return ctx, counted, func() {
		p.done.Store(true)
		p.timer.Load().Stop()
		cancel(context.Canceled)
	}
}

type patience struct {
	start  time.Time
	limit  time.Duration
	moved  atomic.Int64
	done   atomic.Bool
	timer  atomic.Pointer[time.Timer]
	cancel func()
}

// over ends the call, unless its streams have earned it more time.
func (p *patience) over() {
	allowed := p.limit + time.Duration(float64(p.moved.Load())/slowest*float64(time.Second))
	left := allowed - time.Since(p.start)
	switch {
	case p.done.Load():
	case left <= 0:
		p.cancel()
	default:
		p.timer.Store(time.AfterFunc(left, p.over))
	}
}

// count makes a stream count what it moves. A sink stays one that can be closed.
func (p *patience) count(stream any) any {
	switch s := stream.(type) {
	case io.ReadWriter:
		return struct {
			io.Reader
			io.Writer
		}{countedReader{s, p}, countedWriter{s, p}}
	case io.ReadCloser:
		return struct {
			io.Reader
			io.Closer
		}{countedReader{s, p}, s}
	case io.Reader:
		return countedReader{s, p}
	case io.WriteCloser:
		return struct {
			io.Writer
			io.Closer
		}{countedWriter{s, p}, s}
	case io.Writer:
		return countedWriter{s, p}
	}
	return stream
}

type countedReader struct {
	io.Reader
	p *patience
}

// Read is [io.Reader]'s.
func (c countedReader) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.p.moved.Add(int64(max(n, 0)))
	return n, err
}

type countedWriter struct {
	io.Writer
	p *patience
}

// Write is [io.Writer]'s.
func (c countedWriter) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.p.moved.Add(int64(max(n, 0)))
	return n, err
}
