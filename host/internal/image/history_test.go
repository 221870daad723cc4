package image

import (
	"testing"
	"time"
)

// TestHistoryInOrder holds that a layer of which only the second is known does not seem older than a base of the same one.
func TestHistoryInOrder(t *testing.T) {
	t.Parallel()
	at := func(seconds float64) *time.Time {
		t := time.Unix(1000, 0).Add(time.Duration(seconds * float64(time.Second)))
		return &t
	}
	base := at(0.5)
	steps := []History{{Created: at(0)}, {Created: at(0)}, {Created: at(1)}, {Created: at(-5)}, {}}
	inOrder(steps, base)
	for i, want := range []*time.Time{base, base, at(1), at(-5), nil} { // what is older by more was told by somebody
		if got := steps[i].Created; (got == nil) != (want == nil) || got != nil && !got.Equal(*want) {
			t.Errorf("entry %d is of %v, want %v", i, got, want)
		}
	}
}
