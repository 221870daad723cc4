package transfer

import "sync"

// buffers is the memory that the transfers of an engine share. Nobody waits for it: who gets none moves bytes without, as
// waiting could be for oneself, where one blob's download feeds another one's upload.
type buffers struct {
	usual int64
	pool  sync.Pool // of *[]byte with usual bytes or more

	mu sync.Mutex

	left int64
}

func newBuffers(total, usual int64) *buffers {
	return &buffers{left: total, usual: usual}
}

// take returns a buffer of n bytes, or nil if that would be too much.
func (b *buffers) take(n int64) []byte {
	b.mu.Lock()
	if n > b.left {
		b.mu.Unlock()
		return nil
	}
	b.left -= n
	b.mu.Unlock()
	if kept, ok := b.pool.Get().(*[]byte); ok && int64(cap(*kept)) >= n {
		return (*kept)[:n]
	}
	return make([]byte, n, max(n, b.usual))
}

// give takes a buffer back.
func (b *buffers) give(buffer []byte) {
	n := int64(len(buffer))
	b.pool.Put(&buffer)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
}
