package layer

import (
	"context"
	"hash/crc32"
	"io"

	"golang.org/x/sync/errgroup"
)

// compressor is a writer that compresses blocks of what it is given on several goroutines and writes them to out in
// order, while observers get the raw bytes, each on a goroutine of its own. What it writes depends on the raw bytes and
// the codec alone. Errors end its group.
type compressor struct {
	ctx       context.Context //nolint:containedctx // of the group, which lives as long
	codec     codec
	blocks    *blocks
	current   *block
	work      chan *block   // to the encoders
	ordered   chan *block   // to out
	observers []chan *block // to the observers
	written   int64
}

// startCompressor starts the goroutines of a compressor in group, which ends when all is written and closed.
func startCompressor(ctx context.Context, group *errgroup.Group, c codec, jobs int, out io.Writer, observers ...io.Writer) *compressor {
	count := c.blocksFor(jobs)
	p := &compressor{
		ctx: ctx, codec: c, blocks: newBlocks(count, c.dictSize, c.blockSize),
		work: make(chan *block, count), ordered: make(chan *block, count),
	}
	for _, w := range observers {
		ch := make(chan *block, count)
		p.observers = append(p.observers, ch)
		group.Go(func() error { return p.observe(ch, w) })
	}
	if c.newEncoder != nil {
		for range jobs {
			group.Go(p.encode)
		}
	}
	group.Go(func() error { return p.output(out) })
	return p
}

// Write cuts what it is given into blocks. How it is cut into calls makes no difference.
func (p *compressor) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if p.current == nil || len(p.current.data) == p.codec.blockSize {
			if err := p.advance(); err != nil {
				return n - len(b), err
			}
		}
		data := p.current.data
		k := min(len(b), p.codec.blockSize-len(data))
		p.current.data = append(data, b[:k]...)
		b = b[k:]
	}
	p.written += int64(n)
	return n, nil
}

// Close ends the stream. All is written once the group has ended.
func (p *compressor) Close() error {
	if p.current == nil {
		if err := p.advance(); err != nil {
			return err
		}
	}
	p.current.place = final
	p.send(p.current)
	close(p.work)
	close(p.ordered)
	for _, ch := range p.observers {
		close(ch)
	}
	return nil
}

// advance sends the current block on its way and takes a new one.
func (p *compressor) advance() error {
	next := p.blocks.take(p.ctx.Done())
	if next == nil {
		return context.Cause(p.ctx)
	}
	if p.current != nil {
		p.blocks.follow(p.current, next)
		p.send(p.current)
	}
	p.current = next
	return nil
}

// send never waits: every channel has room for all blocks there are.
func (p *compressor) send(b *block) {
	b.users.Store(int32(1 + len(p.observers)))
	if p.codec.newEncoder != nil {
		p.work <- b
	}
	p.ordered <- b
	for _, ch := range p.observers {
		ch <- b
	}
}

// receive returns the next block of a channel; nil at its end.
func (p *compressor) receive(ch <-chan *block) (*block, error) {
	select {
	case b := <-ch:
		return b, nil
	case <-p.ctx.Done():
		return nil, context.Cause(p.ctx)
	}
}

func (p *compressor) observe(ch <-chan *block, w io.Writer) error {
	for {
		b, err := p.receive(ch)
		if b == nil {
			return err
		}
		if _, err := w.Write(b.data); err != nil {
			return err
		}
		p.blocks.release(b)
	}
}

func (p *compressor) encode() error {
	e, err := p.codec.newEncoder()
	if err != nil {
		return err
	}
	for {
		b, err := p.receive(p.work)
		if b == nil {
			return err
		}
		b.out, err = e.encode(b.out[:0], b)
		b.done <- err
	}
}

func (p *compressor) output(out io.Writer) error {
	var sum uint32
	var size int64
	if _, err := out.Write(p.codec.prologue); err != nil {
		return err
	}
	for {
		b, err := p.receive(p.ordered)
		if err != nil {
			return err
		}
		if b == nil {
			break
		}
		if p.codec.epilogue != nil {
			sum, size = crc32.Update(sum, crc32.IEEETable, b.data), size+int64(len(b.data))
		}
		if err := p.outputBlock(out, b); err != nil {
			return err
		}
		p.blocks.release(b)
	}
	if p.codec.epilogue == nil {
		return nil
	}
	_, err := out.Write(p.codec.epilogue(sum, size))
	return err
}

func (p *compressor) outputBlock(out io.Writer, b *block) error {
	encoded := b.data
	if p.codec.newEncoder != nil {
		select {
		case err := <-b.done:
			if err != nil {
				return err
			}
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
		encoded = b.out
	}
	_, err := out.Write(encoded)
	return err
}
