package wasm

import (
	"context"
	"errors"
	"io"
)

// prefetched is a module that is loaded before its bytes are there.
type prefetched struct {
	done chan struct{}
	tier *tier
	err  error
}

// Prefetch starts to load the code that was compiled ahead for a module, named by its SHA-256, for the one who opens that module
// next: to find and to verify the module takes about as long. Nothing of it runs. [Engine.Forget] must be called before ctx is of
// no use any more.
func (e *Engine) Prefetch(ctx context.Context, module string) {
	var open func() (io.ReadCloser, error)
	if e.Ahead != nil && e.loading() != "" {
		open = e.Ahead(module, Target())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if open == nil || e.prefetched[module] != nil {
		return
	}
	f := &prefetched{done: make(chan struct{})}
	if e.prefetched == nil {
		e.prefetched = map[string]*prefetched{}
	}
	e.prefetched[module] = f
	go func() {
		defer close(f.done)
		f.tier, f.err = e.carried(ctx, open)
	}()
}

// take gives out what was loaded of a module, once; nil if nothing was.
func (e *Engine) take(module string) *prefetched {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.prefetched[module]
	delete(e.prefetched, module)
	return f
}

// Forget frees what was loaded and nobody has taken.
func (e *Engine) Forget(ctx context.Context) error {
	e.mu.Lock()
	left := e.prefetched
	e.prefetched = nil
	e.mu.Unlock()
	var err error
	for _, f := range left {
		<-f.done
		if f.tier != nil {
			err = errors.Join(err, f.tier.close(ctx))
		}
	}
	return err
}
