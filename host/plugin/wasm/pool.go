package wasm

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// pool has a plugin's instances. Each is used by one call at a time; there are never more than there are seats.
type pool struct {
	seats chan struct{} // holds a token for each call that has, or makes, an instance

	mu     sync.Mutex
	idle   []*instance // the one used last at the end: it is warm
	busy   int
	tier   *tier // that new instances are made of
	closed bool
	err    error // of closing what nobody waits for
}

func newPool(size int) *pool { return &pool{seats: make(chan struct{}, size)} }

// sit waits for a seat.
func (o *pool) sit(ctx context.Context) error {
	select {
	case o.seats <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.busy++
	return nil
}

// leave gives a seat back.
func (o *pool) leave() {
	o.mu.Lock()
	o.busy--
	o.mu.Unlock()
	<-o.seats
}

// take returns an idle instance, if there is one; with unused, one that was asked nothing but the first operation.
func (o *pool) take(unused bool) *instance {
	o.mu.Lock()
	defer o.mu.Unlock()
	for n := len(o.idle) - 1; n >= 0; n-- {
		if i := o.idle[n]; !unused || i.calls == 0 {
			o.idle = slices.Delete(o.idle, n, n+1)
			return i
		}
	}
	return nil
}

// reserve counts a new instance of the tier in use, and makes room for it.
func (o *pool) reserve(ctx context.Context) *tier {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.idle) > 0 && len(o.idle)+o.busy > cap(o.seats) {
		oldest := o.idle[0]
		o.idle = slices.Delete(o.idle, 0, 1)
		o.drop(ctx, oldest)
	}
	o.tier.instances++
	return o.tier
}

// put takes an instance back for another call, if it is of the tier that is used now.
func (o *pool) put(ctx context.Context, i *instance) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || i.tier != o.tier {
		o.drop(ctx, i)
		return
	}
	o.idle = append(o.idle, i)
}

// discard ends an instance.
func (o *pool) discard(ctx context.Context, i *instance) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drop(ctx, i)
}

// drop ends an instance, and its tier if it was the last of one that is not used any more. The caller holds mu.
func (o *pool) drop(ctx context.Context, i *instance) {
	err := i.close(ctx)
	if i.tier.instances--; i.tier.instances == 0 && i.tier != o.tier {
		err = errors.Join(err, i.tier.close(ctx))
	}
	o.err = errors.Join(o.err, err)
}

// offer makes t what instances are made of, if there is nothing yet.
func (o *pool) offer(ctx context.Context, t *tier) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tier == nil && !o.closed {
		o.tier = t
		return
	}
	o.err = errors.Join(o.err, t.close(ctx))
}

// replace makes t what instances are made of. Those of what was end when nobody uses them.
func (o *pool) replace(ctx context.Context, t *tier) {
	o.mu.Lock()
	defer o.mu.Unlock()
	old := o.tier
	o.tier = t
	o.dropIdle(ctx)
	if old != nil && old.instances == 0 {
		o.err = errors.Join(o.err, old.close(ctx))
	}
}

func (o *pool) dropIdle(ctx context.Context) {
	for _, i := range o.idle {
		o.drop(ctx, i)
	}
	o.idle = nil
}

// current is what new instances are made of, or nil.
func (o *pool) current() *tier {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tier
}

// close waits for the calls and ends all instances. Only the first call does so.
func (o *pool) close(ctx context.Context) error {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	for range cap(o.seats) {
		select {
		case o.seats <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	o.replace(ctx, nil)
	return o.err
}
