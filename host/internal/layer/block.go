package layer

import (
	"sync/atomic"
)

// place says where in a stream a block is.
type place int

const (
	inner place = iota
	final
)

// block is a piece of a raw stream on its way through the goroutines that use it.
type block struct {
	mem   []byte // room for the dictionary, then for the data
	dict  []byte // the end of the block before
	data  []byte
	place place
	out   []byte     // the data, compressed
	done  chan error // says that out is ready
	users atomic.Int32
}

// blocks is a fixed number of blocks, so that a pipeline takes the same memory whatever flows through it.
type blocks struct {
	free     chan *block
	unmade   int
	dictSize int
	size     int
}

func newBlocks(count, dictSize, size int) *blocks {
	return &blocks{free: make(chan *block, count), unmade: count, dictSize: dictSize, size: size}
}

// take returns an empty block, and waits for one if all are in use. It is for one goroutine.
func (p *blocks) take(done <-chan struct{}) *block {
	if p.unmade > 0 && len(p.free) == 0 {
		p.unmade--
		b := &block{mem: make([]byte, p.dictSize+p.size), done: make(chan error, 1)}
		b.data = b.mem[p.dictSize:p.dictSize]
		return b
	}
	select {
	case b := <-p.free:
		b.dict, b.data, b.place, b.out = nil, b.mem[p.dictSize:p.dictSize], inner, b.out[:0]
		return b
	case <-done:
		return nil
	}
}

// follow gives next the end of b as its dictionary.
func (p *blocks) follow(b, next *block) {
	tail := b.data[max(0, len(b.data)-p.dictSize):]
	next.dict = next.mem[p.dictSize-len(tail) : p.dictSize]
	copy(next.dict, tail)
}

// release says that one user of b has finished with it.
func (p *blocks) release(b *block) {
	if b.users.Add(-1) == 0 {
		p.free <- b
	}
}
