package host

import (
	"sync"

	"github.com/trowel-build/trowel/host/internal/progress"
)

// toldOnce passes events on, but for warnings that were told before the build was started again: it finds the same.
type toldOnce struct {
	to Reporter

	mu    sync.Mutex
	now   []string
	known map[string]bool
}

// Report is [Reporter]'s.
func (o *toldOnce) Report(e Event) {
	if e.Kind == progress.KindMessage && e.Level == "warning" {
		o.mu.Lock()
		known := o.known[e.Text]
		o.now = append(o.now, e.Text)
		o.mu.Unlock()
		if known {
			return
		}
	}
	o.to.Report(e)
}

// again is called when the build starts again.
func (o *toldOnce) again() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, text := range o.now {
		o.known[text] = true
	}
	o.now = nil
}
