package wire

import (
	"context"
	"errors"
	"math"
	"sync"
)

// ErrWindow says that the other side sent more of a stream than it was allowed to.
var ErrWindow = errors.New("more bytes than the stream's window allows")

// Credit is what the sender of a stream may still send. It is made by [NewCredit]; one goroutine takes from it.
type Credit struct {
	changed chan struct{} // holds a token after every change

	mu   sync.Mutex
	left int64
	err  error
}

// NewCredit returns an empty credit.
func NewCredit() *Credit { return &Credit{changed: make(chan struct{}, 1)} }

// Add adds to what may be sent.
func (c *Credit) Add(n int) {
	c.mu.Lock()
	c.left = min(c.left+int64(n), math.MaxInt32)
	c.mu.Unlock()
	notify(c.changed)
}

// Fail has every further Take return err.
func (c *Credit) Fail(err error) {
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	notify(c.changed)
}

// Take waits until something may be sent, and takes up to n bytes of it.
func (c *Credit) Take(ctx context.Context, n int) (int, error) {
	for {
		c.mu.Lock()
		taken, err := int(min(int64(n), c.left)), c.err
		if err == nil {
			c.left -= int64(taken)
		}
		c.mu.Unlock()
		if err != nil {
			return 0, err
		}
		if taken > 0 {
			return taken, nil
		}
		select {
		case <-c.changed:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// small is the size up to which pieces of a queue are joined.
const small = 4 << 10

// Queue is what the receiver of a stream has got and not read yet. It is made by [NewQueue]; one goroutine reads from it.
type Queue struct {
	grant   func(bytes int) // tells the sender that it may send so many more
	changed chan struct{}   // holds a token after every change

	mu      sync.Mutex
	chunks  [][]byte
	allowed int // that the sender may still send
	read    int // since the last grant
	err     error
}

// NewQueue returns an empty queue. The sender may send nothing before [Queue.Open].
func NewQueue(grant func(bytes int)) *Queue {
	return &Queue{grant: grant, changed: make(chan struct{}, 1)}
}

// Open lets the sender send, at the first time that it is called.
func (q *Queue) Open() {
	q.mu.Lock()
	first := q.allowed == 0 && q.read == 0 && len(q.chunks) == 0 && q.err == nil
	if first {
		q.allowed = Window
	}
	q.mu.Unlock()
	if first {
		q.grant(Window)
	}
}

// Put takes what was received. It does not wait, and keeps b.
func (q *Queue) Put(b []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil || len(b) == 0 {
		return nil // nobody reads it any more
	}
	if len(b) > q.allowed {
		return ErrWindow
	}
	q.allowed -= len(b)
	if last := len(q.chunks) - 1; last >= 0 && len(q.chunks[last])+len(b) <= small {
		q.chunks[last] = append(q.chunks[last], b...) // many tiny frames must not cost more than their bytes
	} else {
		q.chunks = append(q.chunks, b)
	}
	notify(q.changed)
	return nil
}

// End says that nothing more comes: err, such as [io.EOF], is what a reader gets after what is in the queue.
func (q *Queue) End(err error) {
	q.mu.Lock()
	if q.err == nil {
		q.err = err
	}
	q.mu.Unlock()
	notify(q.changed)
}

// Read waits for bytes, and lets the sender send as many more once half a window was read.
func (q *Queue) Read(ctx context.Context, p []byte) (int, error) {
	for {
		n, more, err := q.take(p)
		if more > 0 {
			q.grant(more)
		}
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
		select {
		case <-q.changed:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// take copies what there is, and tells how much more the sender is to be granted.
func (q *Queue) take(p []byte) (n, more int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for n < len(p) && len(q.chunks) > 0 {
		copied := copy(p[n:], q.chunks[0])
		n += copied
		if q.chunks[0] = q.chunks[0][copied:]; len(q.chunks[0]) == 0 {
			q.chunks[0] = nil
			q.chunks = q.chunks[1:]
		}
	}
	if n == 0 {
		return 0, 0, q.err
	}
	if q.read += n; q.read >= Window/2 && q.err == nil {
		more, q.read = q.read, 0
		q.allowed += more
	}
	return n, more, nil
}

// notify leaves a token, so that a waiting goroutine looks again.
func notify(changed chan struct{}) {
	select {
	case changed <- struct{}{}:
	default:
	}
}
