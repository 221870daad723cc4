package stage

import (
	"context"
	"errors"
	"slices"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrNoLauncher says that a step has a process to run and the caller gave no means to.
var ErrNoLauncher = errors.New("no way to run processes")

// canRun finds out, before anything runs, whether what has to run can.
func (e *Engine) canRun(ctx context.Context) error {
	needed := map[*Stage]bool{}
	for _, s := range slices.Concat(e.targets, e.others) {
		e.need(s, needed)
	}
	tried := map[string]error{} // by architecture
	runs := false
	isolate := sync.OnceValue(e.isolate)
	for _, s := range e.order {
		if !needed[s] {
			continue
		}
		i := slices.IndexFunc(s.steps[s.hits:], (*step).runs)
		if i < 0 {
			continue
		}
		if e.Launcher == nil {
			return e.fail(s.steps[s.hits+i], ErrNoLauncher)
		}
		if err := isolate(); err != nil {
			return err
		}
		err := e.CannotRun
		if err == nil {
			err = e.runsHere(ctx, s, tried)
		}
		if err == nil {
			err = e.checkCovered(s)
		}
		if err != nil {
			return e.fail(s.steps[s.hits+i], err)
		}
		runs = true
	}
	if runs && e.Chosen != "" {
		e.inform(e.Chosen)
	}
	if runs && e.Notice != "" {
		e.warn(e.Notice)
	}
	return nil
}

// isolate learns how processes are isolated.
func (e *Engine) isolate() (err error) {
	if e.Isolate == nil {
		return nil
	}
	e.Isolation, err = e.Isolate()
	e.fitMemory()
	return err
}

// runsHere says whether the machine runs programs for a stage's platform, or for that of the image it starts from, which
// may have been taken for another than it is for.
func (e *Engine) runsHere(ctx context.Context, s *Stage, tried map[string]error) error {
	run := func(p ocispec.Platform) error {
		if _, ok := tried[p.Architecture]; !ok {
			tried[p.Architecture] = e.Launcher.CanRun(ctx, e.Rung, e.Dir, p.Architecture)
		}
		return tried[p.Architecture]
	}
	err := run(s.platform)
	if err == nil {
		return nil
	}
	if img, _ := e.Base(e.Chain(s)[0]); img != nil && run(img.Image.Platform()) == nil {
		return nil
	}
	return err
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
