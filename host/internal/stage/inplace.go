package stage

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
	"github.com/trowel-build/trowel/host/internal/snapshot"
)

// In [executor.RungInPlace] stages have one root directory, which one of them has at a time, and a process that walks through
// the file system reaches what lies aside for the others. What it changes there would count as their own. Hence:
//
//   - Whoever compares a directory with its record, or changes it on purpose, has the root.
//   - Before that, and when a layer has read its files from a directory, the directory must be as it was recorded, if a process
//     of somebody else has run since.
//   - While a directory is made there is no record. One that was made beside a process and does not look like its layers is
//     made again.

// watched is a directory that only its owner's processes may change.
type watched struct {
	what   string // for errors
	record *snapshot.Record
	known  int64 // Engine.runs, when the record was taken
}

// watch notes what a directory holds.
func (e *Engine) watch(ctx context.Context, w *watched, record *snapshot.Record) error {
	w.record, w.known = record, e.runs.Load()
	if e.Rung != executor.RungInPlace {
		return nil
	}
	return record.Await(ctx)
}

// checkCovered refuses, before anything runs, a stage whose steps put something where its process in place could not see it.
// What comes with images is found when the directory is made.
func (e *Engine) checkCovered(s *Stage) error {
	if e.Rung != executor.RungInPlace {
		return nil
	}
	root := e.Root
	root.Dir, root.Aside = filepath.Join(e.Dir, "root"), filepath.Join(e.Dir, "aside") // beside those to come
	covered, err := root.Covered()
	if err != nil {
		return err
	}
	for _, below := range e.Chain(s) {
		steps := below.steps
		for below == s && !steps[len(steps)-1].runs() {
			steps = steps[:len(steps)-1] // what comes after the last process is not shown to any
		}
		for _, st := range steps {
			for _, x := range st.Effects {
				if err := putCovered(covered, x); err != nil {
					return e.fail(st, err)
				}
			}
		}
	}
	return nil
}

// putCovered refuses an effect that puts something where no process would see it.
func putCovered(covered *executor.Covered, x effect.Effect) error {
	switch x := x.(type) {
	case effect.Copy:
		return covered.Content(path.Clean(x.Dest))
	case effect.Mkdir:
		return covered.Directory(path.Clean(x.Path))
	case effect.Symlink:
		return covered.Content(path.Clean(x.Path))
	}
	return nil
}

// checkShown refuses a directory that holds something which no process would see.
func (e *Engine) checkShown(p *plainRoot) error {
	if e.Rung != executor.RungInPlace {
		return nil
	}
	root := e.Root
	root.Dir, root.Aside = p.dir, p.aside
	return root.CheckShown()
}

// running says whether a process ran in place when Engine.runs was this.
func running(runs int64) bool { return runs%2 != 0 }

// takeRoot waits for the one root directory that all stages have in [executor.RungInPlace].
func (e *Engine) takeRoot(ctx context.Context) (free func(), err error) {
	if e.Rung != executor.RungInPlace {
		return func() {}, nil
	}
	select {
	case e.root <- struct{}{}:
		return func() { <-e.root }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// enterRoot is called before a process runs, and leave after it. What the build does beside may wait for it, and must not be
// waited for: so the root is had for longer.
func (e *Engine) enterRoot(ctx context.Context) (leave func(), err error) {
	if e.Rung != executor.RungInPlace {
		return func() {}, nil
	}
	outside := func() {}
	if e.Enter != nil {
		if outside, err = e.Enter(ctx); err != nil {
			return nil, err
		}
	}
	e.runs.Add(1)
	return func() {
		e.runs.Add(1)
		outside()
	}, nil
}

// unharmed makes sure that a directory is as it was recorded.
func (e *Engine) unharmed(ctx context.Context, w watched) error {
	if e.runs.Load() == w.known {
		return nil
	}
	paths, err := w.record.Strays(ctx, e.snapshots())
	if err != nil {
		return fmt.Errorf("see whether a RUN has changed %s: %w", w.what, err)
	}
	if len(paths) > 0 {
		return &trespass{w.what, paths}
	}
	return nil
}

// soundness tells a layer whose files are in a directory whether they still are what its process left.
func (e *Engine) soundness(w watched) func(context.Context) error {
	if e.Rung != executor.RungInPlace {
		return nil
	}
	return func(ctx context.Context) error { return e.unharmed(ctx, w) }
}

// confirm makes sure that a stage's directory is what the stage made of it. The root is taken. The error wraps
// [rootfs.ErrEntangled] if it has to be made anew.
func (e *Engine) confirm(ctx context.Context, p *plainRoot) error {
	if e.Rung != executor.RungInPlace {
		return nil
	}
	if p.doubtful {
		p.doubtful = false
		layers, err := e.merge(ctx, filetree.Empty(), p.layers)
		if err != nil {
			return err
		}
		if !p.record.Holds(layers, e.owners) {
			return fmt.Errorf("made beside a RUN: %w", rootfs.ErrEntangled)
		}
	}
	if err := e.unharmed(ctx, p.watched); err != nil {
		return err
	}
	p.known = e.runs.Load()
	return nil
}

// unharmed makes sure that what mounts show is what it was. The root is taken.
func (m *mounted) unharmed(ctx context.Context, e *Engine) error {
	for _, w := range m.watched {
		if err := e.unharmed(ctx, *w); err != nil {
			return err
		}
		w.known = e.runs.Load()
	}
	return nil
}

// putWatched lets put make the files of a mount in a directory, while no process runs in place.
func (e *Engine) putWatched(ctx context.Context, name, source string, put func() error) error {
	free, err := e.takeRoot(ctx)
	if err != nil {
		return err
	}
	defer free()
	if err := put(); err != nil || e.Rung != executor.RungInPlace {
		return err
	}
	record, err := snapshot.Take(ctx, filepath.Join(e.Dir, name), e.snapshots())
	if err != nil {
		return err
	}
	w := &watched{what: "what RUN --mount shows of " + source}
	e.mu.Lock()
	e.watchedFiles[name] = w
	e.mu.Unlock()
	return e.watch(ctx, w, record)
}

// trespass says that a process has changed what is not its own.
type trespass struct {
	what  string
	paths []string
}

// Error names some of what was changed.
func (t *trespass) Error() string {
	const shown = 5
	var names []string
	for _, p := range t.paths[:min(shown, len(t.paths))] {
		names = append(names, fmt.Sprintf("%q", "/"+p))
	}
	text := fmt.Sprintf("%s was changed by a RUN that has nothing to do with it: %s", t.what, strings.Join(names, ", "))
	if more := len(t.paths) - shown; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Hint says what helps.
func (t *trespass) Hint() string {
	return "in place a RUN that goes through the whole file system finds other stages' files in " + executor.HiddenDir +
		": leave that out (find / -path " + executor.HiddenDir + " -prune -o ...), or choose another --isolation"
}
