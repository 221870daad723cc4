package stage

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
	"github.com/trowel-build/trowel/host/internal/snapshot"
)

// Where nothing can be mounted a stage has one directory with the files of all its layers. It is made once, when the first
// process needs it, and lives as long as the stage: what processes change in it stays, and what other steps change is put
// into it before the next process starts. Rules:
//
//   - The layer of a process reads its files from the directory. So nothing changes there before that layer is written.
//   - The record is of what is in the directory when a process starts; what the process changed is found by it.
//   - Nothing of a stage refers to another's directory: what stages read of each other they read from layers.
//   - In [executor.RungInPlace] a process can reach the directories of other stages: see inplace.go.

// plainRoot is a stage's root file system as a plain directory.
type plainRoot struct {
	dir, aside string
	layers     []*Layer // whose files are in it, lowest first
	watched
	doubtful bool    // it was made while a process ran in place
	origin   *origin // nil where it cannot be told for certain what is left of it
	unread   *Layer  // the last one that a process made here, until it is written
}

// plain says whether root file systems are plain directories.
func (e *Engine) plain() bool { return e.Rung != "" }

func (e *Engine) snapshots() snapshot.Options {
	return snapshot.Options{Form: e.form, Owners: e.owners}
}

// processPlain is [builder.process] in a plain directory.
func (b *builder) processPlain(ctx context.Context, st *step, x effect.Exec) (_ []filetree.Change, _ keepFunc, err error) {
	e := b.engine
	if err := b.prepareRoot(ctx); err != nil {
		return nil, nil, err
	}
	shown, err := b.materialise(ctx, x.Mounts)
	defer func() { err = errors.Join(err, shown.release()) }()
	if err != nil {
		return nil, nil, err
	}
	process, err := b.describePlain(ctx, st, x, shown)
	if err != nil {
		return nil, nil, err
	}
	// From here until it is known what the process changed no other stage's process may run in place.
	free, err := e.takeRoot(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer free()
	p, err := b.plainRoot(ctx)
	if err == nil {
		err = shown.unharmed(ctx, e)
	}
	if err != nil {
		return nil, nil, err
	}
	shifts, err := e.startPlain(ctx, p, process)
	if err != nil {
		return nil, nil, explainExit(x, err)
	}
	tree, err := b.settled(ctx)
	if err != nil {
		return nil, nil, err
	}
	if p.origin != nil {
		p.origin.Moved(shifts)
	}
	changes, record, err := p.record.Changes(ctx, tree, shifts, e.snapshots())
	if err == nil {
		err = e.watch(ctx, &p.watched, record)
	}
	if err != nil {
		return nil, nil, err
	}
	b.sound = e.soundness(p.watched)
	return changes, func(l *Layer) { p.layers, p.unread = append(p.layers, l), l }, nil
}

// describePlain is [builder.describe] where nothing is mounted.
func (b *builder) describePlain(ctx context.Context, st *step, x effect.Exec, shown *mounted) (executor.Process, error) {
	view, err := b.current(ctx)
	if err != nil {
		return executor.Process{}, err
	}
	targets, err := rootfs.ResolveTargets(view, append(slices.Clone(standardTargets), shown.targets...))
	if err != nil {
		return executor.Process{}, err
	}
	return b.describe(ctx, st, x, shown, targets[len(standardTargets):])
}

// startPlain runs a process to its end. The root is taken.
func (e *Engine) startPlain(ctx context.Context, p *plainRoot, process executor.Process) ([]executor.Shift, error) {
	leave, err := e.enterRoot(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := p.record.Await(ctx); err != nil {
		return nil, err
	}
	root := e.Root
	root.Dir, root.Aside = p.dir, p.aside
	return e.Launcher.RunPlain(ctx, e.Rung, root, process)
}

// expectRoot starts to make the directory, if it is certain that a process will run.
func (b *builder) expectRoot(ctx context.Context) {
	if !b.engine.plain() || !b.stage.certain() {
		return
	}
	layers := slices.Clone(b.layers)
	early := sync.OnceValues(func() (*plainRoot, error) {
		if p, err := b.inherit(ctx, layers); p != nil || err != nil {
			return p, err
		}
		return b.makeRoot(ctx, layers)
	})
	b.early = early
	b.engine.background.Go(func() error {
		_, err := early()
		return err
	})
}

// prepareRoot does what takes long and can be done while another stage's process runs in place: it makes the directory, if
// there is none, or waits until the last layer of it is written.
func (b *builder) prepareRoot(ctx context.Context) (err error) {
	switch {
	case b.root != nil:
		return b.root.settle()
	case b.early != nil:
		b.root, err = b.early()
		b.early = nil
	default:
		b.root, err = b.makeRoot(ctx, slices.Clone(b.layers))
	}
	return err
}

// plainRoot is the stage's directory with all its layers, recorded. The root is taken.
func (b *builder) plainRoot(ctx context.Context) (*plainRoot, error) {
	err := b.engine.confirm(ctx, b.root)
	if err == nil {
		err = b.advance(ctx)
	}
	if errors.Is(err, rootfs.ErrEntangled) {
		old := b.root
		b.engine.background.Go(func() error { return errors.Join(old.settle(), old.remove()) })
		b.root, err = b.makeRoot(ctx, slices.Clone(b.layers))
	}
	if err != nil {
		return nil, err
	}
	return b.root, b.addKernelDirs(ctx)
}

// makeRoot makes a directory of layers.
func (b *builder) makeRoot(ctx context.Context, layers []*Layer) (*plainRoot, error) {
	e, begun := b.engine, b.engine.runs.Load()
	p := &plainRoot{layers: layers, watched: watched{what: b.rootName()}}
	all, err := e.toUnpack(ctx, p.layers)
	if err != nil {
		return nil, err
	}
	if err := e.makePlaces(&p.aside); err != nil {
		return nil, err
	}
	if p.dir, err = e.continueRoot(ctx, layers); err != nil {
		return nil, err
	}
	continued := p.dir != ""
	if !continued {
		if err := e.makePlaces(&p.dir); err != nil {
			return nil, err
		}
		losses, err := rootfs.UnpackMerged(ctx, p.dir, all, e.trees())
		e.warnLosses(losses)
		if err != nil {
			return nil, err
		}
	}
	if err := e.checkShown(p); err != nil {
		return nil, err
	}
	record, err := snapshot.Take(ctx, p.dir, e.snapshots())
	if err == nil {
		err = e.watch(ctx, &p.watched, record)
	}
	p.doubtful = running(begun) || p.known != begun || continued && begun != 0
	if !p.doubtful && e.Rung == executor.RungInPlace {
		p.origin = &origin{snapshot.NewOrigin(record), slices.Clone(layers)}
	}
	return p, err
}

// rootName is what to call the stage's directory in errors.
func (b *builder) rootName() string {
	return fmt.Sprintf("the root file system of stage %q", b.stage.ID)
}

// continueRoot makes the directory from that of the lowest layer, if there is one that no other stage has taken: it was made
// when the layer was read for its index. It is empty if there is none, or the layers depend on each other.
func (e *Engine) continueRoot(ctx context.Context, layers []*Layer) (string, error) {
	if len(layers) == 0 {
		return "", nil
	}
	u := layers[0].alone.Swap(nil)
	if u == nil {
		return "", nil
	}
	dir := filepath.Join(e.Dir, u.name)
	err := e.completeLowest(ctx, layers[0])
	for _, l := range layers[1:] {
		if err != nil {
			break
		}
		var changes []filetree.Change
		if changes, err = l.contents(ctx); err == nil {
			var losses []rootfs.Loss
			losses, err = rootfs.Advance(ctx, dir, changes, e.trees())
			e.warnLosses(losses)
		}
	}
	// Marks of overlayfs may be forbidden as well, and are not wanted here.
	if errors.Is(err, rootfs.ErrEntangled) || errors.Is(err, unix.EPERM) {
		return "", rootfs.RemoveAll(dir)
	}
	return dir, err
}

// completeLowest completes the directory of a layer that lies on nothing.
func (e *Engine) completeLowest(ctx context.Context, l *Layer) error {
	tree, err := e.merge(ctx, filetree.Empty(), []*Layer{l})
	if err != nil {
		return err
	}
	_, err = e.finishUnpack(l, filetree.Empty(), tree)
	return err
}

// advance puts what other steps changed into the directory. The error wraps [rootfs.ErrEntangled] if it has to be made anew.
func (b *builder) advance(ctx context.Context) error {
	p := b.root
	if err := p.settle(); err != nil {
		return err
	}
	if len(p.layers) > len(b.layers) || !slices.Equal(p.layers, b.layers[:len(p.layers)]) {
		return rootfs.ErrEntangled // with layers of a step that is over
	}
	for _, l := range b.layers[len(p.layers):] {
		changes, err := l.changes, error(nil)
		if changes == nil {
			changes, err = l.contents(ctx)
		}
		if err != nil {
			return err
		}
		if err := b.engine.change(ctx, p, changes); err != nil {
			return err
		}
		p.layers = append(p.layers, l)
	}
	return nil
}

// change makes changes in the directory, and records what is there then.
func (e *Engine) change(ctx context.Context, p *plainRoot, changes []filetree.Change) error {
	losses, err := rootfs.Advance(ctx, p.dir, changes, e.trees())
	e.warnLosses(losses)
	if err != nil {
		return err
	}
	paths := make([]string, len(changes))
	for i := range changes {
		paths[i] = changes[i].Path
	}
	p.record, err = p.record.Refresh(ctx, paths, e.snapshots())
	return err
}

// addKernelDirs makes the directories of the kernel that no layer has. They count as what the process changes: the record
// does not know them.
func (b *builder) addKernelDirs(ctx context.Context) error {
	view, err := b.current(ctx)
	if err != nil {
		return err
	}
	missing := rootfs.MissingKernelDirs(view, b.engine.Created)
	if len(missing) == 0 {
		return nil
	}
	_, err = rootfs.Advance(ctx, b.root.dir, missing, b.engine.trees())
	return err
}

// settle waits until nothing reads the directory any more.
func (p *plainRoot) settle() error {
	if p.unread == nil {
		return nil
	}
	_, err := p.unread.pending.Wait()
	p.unread = nil
	return err
}

// releaseRoot removes the directory once it is read, or leaves it to another stage.
func (b *builder) releaseRoot() {
	p, early := b.root, b.early
	b.root, b.early = nil, nil
	if p == nil && early == nil {
		b.stage.leave(nil)
		return
	}
	b.engine.background.Go(func() error {
		if p == nil {
			if p, _ = early(); p == nil {
				b.stage.leave(nil)
				return nil // whoever waited for it was told why
			}
		}
		_ = p.settle() // likewise
		if b.stage.leave(p) {
			return nil
		}
		return p.remove()
	})
}

// mountedPlain shows the files that a mount is to show, in a directory of their own.
func (b *builder) mountedPlain(ctx context.Context, m *mounted, x effect.Mount) (executor.Mount, error) {
	dir, err := b.shownFiles(ctx, x)
	if err != nil {
		return executor.Mount{}, err
	}
	show := executor.Mount{
		Kind: executor.MountLayers, SubPath: mountedName, ReadOnly: x.Access == effect.ReadOnly,
		Layers: executor.Rootfs{LayersDir: b.engine.Dir, Lowers: []string{dir}},
	}
	b.engine.mu.Lock()
	files := b.engine.watchedFiles[dir]
	b.engine.mu.Unlock()
	if files != nil {
		m.watched = append(m.watched, files)
	}
	return show, b.engine.makePlaces(&show.Layers.Merged)
}
