package layer

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"
)

// A pump's blocks: enough that neither side waits for every single one.
const (
	pumpBlock  = 256 << 10
	pumpBlocks = 8
)

// pump reads a stream ahead, on a goroutine of its own, for one or several users that each get all of it. The slowest
// decides.
type pump struct {
	ctx    context.Context //nolint:containedctx // of the group
	group  *errgroup.Group
	blocks *blocks
	users  []chan *block
}

// newPump makes a pump; once all its users are there, run starts it in its group.
func newPump(ctx context.Context, group *errgroup.Group) *pump {
	return &pump{ctx: ctx, group: group, blocks: newBlocks(pumpBlocks, 0, pumpBlock)}
}

// reader is one more user of the stream.
func (p *pump) reader() *pumpReader {
	ch := make(chan *block, pumpBlocks)
	p.users = append(p.users, ch)
	return &pumpReader{pump: p, ch: ch}
}

// observe starts a goroutine that writes the stream to w.
func (p *pump) observe(w io.Writer) {
	r := p.reader()
	p.group.Go(func() error {
		_, err := r.WriteTo(w)
		return err
	})
}

func (p *pump) run(r io.Reader) {
	p.group.Go(func() error {
		for {
			b := p.blocks.take(p.ctx.Done())
			if b == nil {
				return context.Cause(p.ctx)
			}
			n, err := fill(r, b.mem)
			b.data = b.mem[:n]
			b.users.Store(int32(len(p.users)))
			for _, ch := range p.users {
				ch <- b // has room for all blocks
			}
			switch {
			case errors.Is(err, io.EOF):
				p.end()
				return nil
			case err != nil:
				return err
			}
		}
	})
}

// fill reads until b is full. io.EOF is the end of r, and unlike with io.ReadFull there may be bytes before it; an
// io.ErrUnexpectedEOF is r's own.
func fill(r io.Reader, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k, err := r.Read(b[n:])
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (p *pump) end() {
	for _, ch := range p.users {
		close(ch)
	}
}

// pumpReader is one user's end of a pump.
type pumpReader struct {
	pump    *pump
	ch      chan *block
	current *block
	unread  []byte
}

func (r *pumpReader) Read(p []byte) (int, error) {
	if len(r.unread) == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.unread)
	r.unread = r.unread[n:]
	return n, nil
}

// WriteTo hands over whole blocks.
func (r *pumpReader) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for {
		n, err := w.Write(r.unread)
		written += int64(n)
		if err != nil {
			return written, err
		}
		err = r.next()
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
	}
}

// next moves on to a block that is not empty. io.EOF is the end of the stream.
func (r *pumpReader) next() error {
	for {
		if r.current != nil {
			r.pump.blocks.release(r.current)
			r.current, r.unread = nil, nil
		}
		select {
		case b, ok := <-r.ch:
			if !ok {
				return io.EOF
			}
			r.current, r.unread = b, b.data
		case <-r.pump.ctx.Done():
			return context.Cause(r.pump.ctx)
		}
		if len(r.unread) > 0 {
			return nil
		}
	}
}
