package host

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/progress"
)

type told []string

// Report notes an event.
func (o *told) Report(e Event) { *o = append(*o, e.ID+" "+string(e.Kind)+" "+string(e.Status)) }

func TestUncached(t *testing.T) {
	t.Parallel()
	start := func(id string) Event { return Event{Kind: progress.KindStepStarted, ID: id} }
	done := func(id string, s progress.Status) Event {
		return Event{Kind: progress.KindStepDone, ID: id, Status: s}
	}
	for name, tt := range map[string]struct {
		do   func(u *uncached)
		want told
	}{
		"cached": {func(u *uncached) {
			u.Report(start("a"))
			u.Report(done("a", progress.StatusCached))
			time.Sleep(time.Minute)
		}, nil},
		"done":   {func(u *uncached) { u.Report(start("a")); u.Report(done("a", progress.StatusDone)) }, told{"a step-started ", "a step-done done"}},
		"failed": {func(u *uncached) { u.Report(start("a")); u.Report(done("a", progress.StatusFailed)) }, told{"a step-started ", "a step-done failed"}},
		"writes": {
			func(u *uncached) { u.Report(start("a")); u.Report(Event{Kind: progress.KindOutput, ID: "a"}) }, told{"a step-started ", "a output "},
		},
		"works in silence": {func(u *uncached) { u.Report(start("a")); time.Sleep(time.Minute) }, told{"a step-started "}},
		"cached after a long look": {
			func(u *uncached) {
				u.Report(start("a"))
				time.Sleep(time.Minute)
				u.Report(done("a", progress.StatusCached))
			}, told{"a step-started ", "a step-done cached"},
		},
		"others": {
			func(u *uncached) {
				u.Report(start("a"))
				u.Report(Event{Kind: progress.KindTransferDone, ID: "b", Status: progress.StatusCached})
			},
			told{"b transfer-done cached"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var got told
				u := &uncached{to: &got, held: map[string]*heldStep{}}
				tt.do(u)
				synctest.Wait()
				u.mu.Lock()
				defer u.mu.Unlock()
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}
