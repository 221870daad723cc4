package stage

import (
	"fmt"
	"testing"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/lower"
	"github.com/trowel-build/trowel/host/internal/plan"
)

// TestManyLayersStayOnDisk holds that what overlayfs may not be able to stack is on one file system: layers can only be
// merged by links there. The effects of one step are on layers of their own, and so are those of the stages below.
func TestManyLayersStayOnDisk(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		stages, steps, effects int
		memory                 bool
	}{{1, 10, 1, true}, {1, 1, 300, false}, {3, 100, 1, false}} {
		o := Options{Plans: []*plan.Plan{{}}, Lowered: map[string]*lower.Lowered{}}
		o.Isolate = func() (Isolation, error) { return Isolation{Memory: &Memory{}}, nil }
		for i := range tt.stages {
			s := &plan.Stage{ID: fmt.Sprint(i)}
			if i > 0 {
				s.Base = effect.Location{Stage: fmt.Sprint(i - 1)}
			}
			steps := make([]lower.Step, tt.steps)
			for k := range steps {
				steps[k] = lower.Step{Effects: make([]effect.Effect, tt.effects), Layer: lower.OneLayer}
			}
			o.Plans[0].Stages = append(o.Plans[0].Stages, s)
			o.Lowered[s.ID] = &lower.Lowered{Steps: steps}
		}
		e, err := New(o)
		if err == nil {
			err = e.isolate()
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Memory != nil; got != tt.memory {
			t.Errorf("%d stages of %d steps of %d effects: in memory %v", tt.stages, tt.steps, tt.effects, got)
		}
	}
}
