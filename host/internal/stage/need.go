package stage

import (
	"cmp"
	"errors"
	"slices"
)

// ErrNoLauncher says that a step has a process to run and the caller gave no means to.
var ErrNoLauncher = errors.New("no way to run processes")

// canRun finds out, before anything runs, whether what has to run can.
func (e *Engine) canRun() error {
	if e.Launcher != nil {
		return nil
	}
	needed := map[*Stage]bool{}
	e.need(e.order[len(e.order)-1], needed)
	for _, s := range e.order {
		if !needed[s] {
			continue
		}
		if i := slices.IndexFunc(s.steps[s.hits:], (*step).runs); i >= 0 {
			return e.fail(s.steps[s.hits+i], cmp.Or(e.CannotRun, ErrNoLauncher))
		}
	}
	return nil
}

// need marks the stages that have to be built for s: those below it, and those that the steps from its first miss on read.
func (e *Engine) need(s *Stage, needed map[*Stage]bool) {
	if s == nil || needed[s] {
		return
	}
	needed[s] = true
	e.need(e.stages[s.base.Stage], needed)
	for _, st := range s.steps[s.hits:] {
		for _, at := range locations(st.Effects) {
			e.need(e.stages[at.Stage], needed)
		}
	}
}
