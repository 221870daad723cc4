package process

import (
	"context"
	"sync"

	"github.com/trowel-build/trowel/sdk"
)

var errClosed = &sdk.Error{Code: sdk.CodeCancelled, Message: "the plugin was closed"}

// gate lets calls to a plugin in: as many at once as there are places, none while it is paused, and none after it was
// closed.
type gate struct {
	places int

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
	inside  map[*context.CancelCauseFunc]struct{}
	pauses  int
	closed  bool
}

func newGate(places int) *gate {
	return &gate{places: places, changed: make(chan struct{}), inside: map[*context.CancelCauseFunc]struct{}{}}
}

// enter waits to be let in. The context that it returns ends when the gate is closed.
func (g *gate) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	err = g.await(ctx, func() (bool, error) {
		if g.closed {
			return false, errClosed
		}
		if g.pauses > 0 || len(g.inside) >= g.places {
			return false, nil
		}
		g.inside[&cancel] = struct{}{}
		return true, nil
	})
	if err != nil {
		cancel(err)
		return nil, nil, err
	}
	return ctx, func() {
		cancel(nil)
		g.change(func() { delete(g.inside, &cancel) })
	}, nil
}

// pause keeps new calls out and waits for those inside to leave.
func (g *gate) pause(ctx context.Context) error {
	g.change(func() { g.pauses++ })
	err := g.empty(ctx)
	if err != nil {
		g.change(func() { g.pauses-- })
	}
	return err
}

// paused is how often the gate is paused.
func (g *gate) paused() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pauses
}

// resume takes back one pause.
func (g *gate) resume() { g.change(func() { g.pauses = max(g.pauses-1, 0) }) }

// close keeps new calls out and cancels those inside.
func (g *gate) close() {
	g.change(func() {
		g.closed = true
		for cancel := range g.inside {
			(*cancel)(errClosed)
		}
	})
}

// empty waits until nobody is inside.
func (g *gate) empty(ctx context.Context) error {
	return g.await(ctx, func() (bool, error) { return len(g.inside) == 0, nil })
}

func (g *gate) change(do func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	do()
	close(g.changed)
	g.changed = make(chan struct{})
}

// await waits until try succeeds or fails.
func (g *gate) await(ctx context.Context, try func() (bool, error)) error {
	for {
		g.mu.Lock()
		done, err := try()
		changed := g.changed
		g.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return causeError(ctx)
		}
	}
}
