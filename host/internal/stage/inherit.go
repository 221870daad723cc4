package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
	"github.com/trowel-build/trowel/host/internal/snapshot"
)

// To unpack a base and to delete it again is most of what a short stage costs. In [executor.RungInPlace], where one process runs
// at a time, a stage that needs another's files anyway waits for that one's directory instead, if both start from the same base:
// what is still as it was unpacked moves into a new directory, and the rest is made anew. Rules:
//
//   - A stage waits only for one that it depends on, and whose steps depend on none of its own: so nobody waits in a circle.
//   - What is as it was is told by the walk that tells what a process changed, with the root had: see [snapshot.Origin].
//   - Where anything is doubtful the base is unpacked, as everywhere else.

// bequeath says which stage gets the directory of which other.
func (e *Engine) bequeath() {
	if e.Rung != executor.RungInPlace || e.slots != nil || !executor.TimesTell() {
		return
	}
	needed := map[*Stage]bool{}
	for _, s := range slices.Concat(e.targets, e.others) {
		e.need(s, needed)
	}
	same := map[sharedStep]int{}
	for _, s := range e.order {
		for _, st := range s.steps {
			same[st.sharing()]++
		}
	}
	shared := func(st *step) bool { return st.makesLayer && same[st.sharing()] > 1 }
	for _, heir := range e.order {
		if !needed[heir] || !heir.certain() || slices.ContainsFunc(heir.steps, shared) {
			continue // a step that another stage may wait for must not wait
		}
		above := map[*Stage]bool{}
		e.need(heir, above)
		for _, s := range slices.Backward(e.order) {
			if above[s] && s != heir && s.leaves(heir) {
				s.estate = make(chan *plainRoot, 1)
				heir.inherits = s
				break
			}
		}
	}
}

// certain says whether a process of the stage is going to run.
func (s *Stage) certain() bool {
	return slices.ContainsFunc(s.steps[s.hits:], func(st *step) bool { return st.runs() && !st.seen })
}

// leaves says whether the stage's directory is made of the base of another, and nobody gets it yet.
func (s *Stage) leaves(heir *Stage) bool {
	made := slices.ContainsFunc(s.steps[:s.hits], func(st *step) bool { return st.makesLayer })
	return s.estate == nil && s.certain() && !made && s.base != (effect.Location{}) && s.base == heir.base &&
		formatPlatform(s.platform) == formatPlatform(heir.platform)
}

// leave gives a directory that is not needed any more to the stage that waits for it, nil if there is none. It says whether
// somebody takes it.
func (s *Stage) leave(p *plainRoot) bool {
	if s.estate == nil || p != nil && p.origin == nil {
		p = nil
	}
	select {
	case s.estate <- p: // never of nil
		return p != nil
	default:
		return false
	}
}

// inherit makes the stage's directory of the one that it gets, or of none: then it is nil.
func (b *builder) inherit(ctx context.Context, layers []*Layer) (*plainRoot, error) {
	e, from := b.engine, b.stage.inherits
	if from == nil {
		return nil, nil
	}
	var old *plainRoot
	select {
	case old = <-from.estate:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if old == nil {
		return nil, nil
	}
	defer e.background.Go(old.remove)
	if base := old.origin.layers; len(base) > len(layers) || !slices.Equal(base, layers[:len(base)]) {
		return nil, nil
	}
	free, err := e.takeRoot(ctx)
	if err != nil {
		return nil, err
	}
	defer free()
	p := &plainRoot{layers: slices.Clone(old.origin.layers), watched: watched{what: b.rootName()}}
	if err := e.makePlaces(&p.dir, &p.aside); err != nil {
		return nil, err
	}
	if err = b.salvage(ctx, p, old); err == nil {
		e.inform(fmt.Sprintf("stage %q has the root file system that stage %q has left, with all that was touched made anew", b.stage.ID, from.ID))
		return p, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// Whatever it was: the layers are there, and tell whether they are to blame.
	e.inform(fmt.Sprintf("stage %q unpacks its base, though stage %q has left a root file system: %v", b.stage.ID, from.ID, err))
	return nil, p.remove()
}

// salvage fills a directory from what another's base has become. The root is taken.
func (b *builder) salvage(ctx context.Context, p, old *plainRoot) error {
	e := b.engine
	untouched, err := old.origin.Untouched(ctx, e.snapshots())
	if err != nil {
		return err
	}
	all, err := e.toUnpack(ctx, p.layers)
	if err != nil {
		return err
	}
	losses, err := rootfs.Salvage(ctx, p.dir, rootfs.Used{Dir: old.dir, Untouched: untouched}, all, e.trees())
	e.warnLosses(losses)
	if err == nil {
		err = e.checkShown(p)
	}
	if err != nil {
		return err
	}
	record, err := snapshot.Take(ctx, p.dir, e.snapshots())
	if err != nil {
		return err
	}
	tree, err := e.merge(ctx, filetree.Empty(), p.layers)
	if err != nil {
		return err
	}
	if len(losses) == 0 && !record.Holds(tree, e.owners) {
		return errors.New("it does not look like its layers")
	}
	p.origin = &origin{snapshot.NewOrigin(record), slices.Clone(p.layers)}
	return e.watch(ctx, &p.watched, record)
}

// origin is what a directory was made of.
type origin struct {
	*snapshot.Origin
	layers []*Layer
}

// remove deletes the directory.
func (p *plainRoot) remove() error { return errors.Join(rootfs.RemoveAll(p.dir), os.Remove(p.aside)) }
