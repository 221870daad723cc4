package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// reader gives the bytes of a blob in order. It reads one range from the network itself; those after it are fetched into
// buffers meanwhile, as far as there are buffers. It is for one goroutine.
type reader struct {
	download *download
	verify   *verifier
	ctx      context.Context //nolint:containedctx // that of the Get
	end      context.CancelCauseFunc
	fetches  sync.WaitGroup

	head  io.Reader // *segment or *chunk
	ahead []*chunk  // in order
	next  int64     // the first byte that nobody fetches
	err   error     // with which it ended
}

// chunk is a range that is fetched into memory.
type chunk struct {
	buffer []byte
	ready  chan struct{} // closed when the buffer is full or err is set
	err    error
	at     int
}

// newReader makes the first request, and from its answer knows whether to fetch ahead.
func newReader(parent context.Context, d *download, verify *verifier) (*reader, error) {
	ctx, end := context.WithCancelCause(parent)
	size := d.engine.PartSize
	to := int64(-1)
	if d.lease.plan.Ranges && (d.size < 0 || d.size > size) {
		to = size
	}
	first := d.segment(ctx, 0, to)
	if err := first.open(); err != nil {
		end(nil)
		return nil, err
	}
	d.version = first.body.version
	if d.size < 0 {
		d.size = first.body.size
	}
	first.to = first.body.to // the end of the blob where it is shorter, or where the server does not know ranges
	r := &reader{download: d, verify: verify, ctx: ctx, end: end, head: first, next: first.to}
	r.fetch()
	return r, nil
}

// fetch starts to fetch as many ranges as there may be requests and are buffers.
func (r *reader) fetch() {
	d := r.download
	for r.next >= 0 && r.next < d.size && len(r.ahead) < d.engine.Parallel-1 {
		n := min(d.engine.PartSize, d.size-r.next)
		buffer := d.engine.buffers.take(n)
		if buffer == nil {
			return
		}
		c := &chunk{buffer: buffer, ready: make(chan struct{})}
		s := d.segment(r.ctx, r.next, r.next+n)
		r.next += n
		r.ahead = append(r.ahead, c)
		r.fetches.Go(func() {
			defer close(c.ready)
			defer s.close()
			if _, err := io.ReadFull(s, c.buffer); err != nil {
				c.err = noEOF(err)
			}
		})
	}
}

// Read reads the blob. After its last byte it says whether it was the blob.
func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.read(p)
	_, _ = r.verify.Write(p[:n])
	if err == nil && r.verify.tooMany() {
		err = io.EOF
	}
	if err == io.EOF { //nolint:errorlint // our own readers return it as it is, and nothing that wraps it
		if wrong := r.verify.verdict(); wrong != nil {
			err = wrong
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("get blob %q: %w", r.verify.blob.Digest, err)
	}
	r.err = err
	return n, err
}

func (r *reader) read(p []byte) (int, error) {
	for {
		n, err := r.head.Read(p)
		if n > 0 || err != io.EOF {
			return n, err
		}
		r.release()
		switch {
		case len(r.ahead) > 0:
			c := r.ahead[0]
			select {
			case <-c.ready:
			case <-r.ctx.Done():
				return 0, context.Cause(r.ctx)
			}
			r.head, r.ahead = c, r.ahead[1:]
		case r.next >= 0 && r.next < r.download.size:
			to := min(r.next+r.download.engine.PartSize, r.download.size)
			r.head = r.download.segment(r.ctx, r.next, to)
			r.next = to
		default:
			return 0, io.EOF
		}
		r.fetch()
	}
}

// release lets go of the range that was read.
func (r *reader) release() {
	switch head := r.head.(type) {
	case *chunk:
		r.download.engine.buffers.give(head.buffer)
	case *segment:
		head.close()
	}
	r.head = ended{}
}

// Close ends the transfer.
func (r *reader) Close() error {
	if r.err == nil {
		r.err = fmt.Errorf("get blob %q: the reader is closed", r.verify.blob.Digest)
	}
	r.end(context.Canceled)
	r.release()
	r.fetches.Wait()
	for _, c := range r.ahead {
		r.download.engine.buffers.give(c.buffer)
	}
	r.ahead = nil
	return nil
}

// Read reads a chunk that is ready.
func (c *chunk) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n := copy(p, c.buffer[c.at:])
	if c.at += n; n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// ended is what is left of a range that was read.
type ended struct{}

func (ended) Read([]byte) (int, error) { return 0, io.EOF }
