package host

import (
	"sync"
	"time"

	"github.com/trowel-build/trowel/host/internal/progress"
)

// uncached passes events on, but for those of steps that a cache has: a stage that is read by several plugins is looked
// through for each, and its steps above need not be told every time.
//
// A step that starts is held back until it is known to run: when it writes something, has ended or is at work for a while.
type uncached struct {
	to Reporter

	mu   sync.Mutex
	held map[string]*heldStep
}

// heldStep is a step that may turn out to be cached.
type heldStep struct {
	started Event
	timer   *time.Timer
}

// holdTime is what a look into a cache may take before its step is shown.
const holdTime = 500 * time.Millisecond

var _ Reporter = (*uncached)(nil)

// Report implements [Reporter].
func (u *uncached) Report(event Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch event.Kind {
	case progress.KindStepStarted:
		id := event.ID
		u.held[id] = &heldStep{event, time.AfterFunc(holdTime, func() {
			u.mu.Lock()
			defer u.mu.Unlock()
			u.release(id)
		})}
		return
	case progress.KindStepDone:
		if h, ok := u.held[event.ID]; ok && event.Status == progress.StatusCached {
			h.timer.Stop()
			delete(u.held, event.ID)
			return
		}
		u.release(event.ID)
	case progress.KindOutput:
		u.release(event.ID)
	}
	u.to.Report(event)
}

// release passes on that a step started, if that was held back.
func (u *uncached) release(id string) {
	if h, ok := u.held[id]; ok {
		h.timer.Stop()
		delete(u.held, id)
		u.to.Report(h.started)
	}
}
