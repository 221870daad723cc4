package stage

import (
	"context"
	"errors"
	"os"
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

// plainRoot is a stage's root file system as a plain directory.
type plainRoot struct {
	dir, aside string
	layers     []*Layer // whose files are in it, lowest first
	record     *snapshot.Record
	unread     *Layer // the last one that a process made here, until it is written
}

// plain says whether root file systems are plain directories.
func (e *Engine) plain() bool { return e.Rung != "" }

func (e *Engine) snapshots() snapshot.Options {
	return snapshot.Options{Form: e.form, Owners: e.owners}
}

// processPlain is [builder.process] in a plain directory.
func (b *builder) processPlain(ctx context.Context, st *step, x effect.Exec) ([]filetree.Change, keepFunc, error) {
	e := b.engine
	p, err := b.plainRoot(ctx)
	if err != nil {
		return nil, nil, err
	}
	shifts, err := b.startPlain(ctx, st, x, p)
	if err != nil {
		return nil, nil, err
	}
	tree, err := b.settled(ctx)
	if err != nil {
		return nil, nil, err
	}
	changes, record, err := p.record.Changes(ctx, tree, shifts, e.snapshots())
	if err != nil {
		return nil, nil, err
	}
	p.record = record
	return changes, func(l *Layer) { p.layers, p.unread = append(p.layers, l), l }, nil
}

// startPlain runs a process to its end.
func (b *builder) startPlain(ctx context.Context, st *step, x effect.Exec, p *plainRoot) (_ []executor.Shift, err error) {
	e := b.engine
	shown, err := b.materialise(ctx, x.Mounts)
	defer func() { err = errors.Join(err, shown.release()) }()
	if err != nil {
		return nil, err
	}
	view, err := b.current(ctx)
	if err != nil {
		return nil, err
	}
	targets, err := rootfs.ResolveTargets(view, append(slices.Clone(standardTargets), shown.targets...))
	if err != nil {
		return nil, err
	}
	process, err := b.describe(ctx, st, x, shown, targets[len(standardTargets):])
	if err != nil {
		return nil, err
	}
	if err := e.lockRoot(ctx); err != nil {
		return nil, err
	}
	defer e.unlockRoot()
	if err := p.record.Await(ctx); err != nil {
		return nil, err
	}
	root := e.Root
	root.Dir, root.Aside = p.dir, p.aside
	shifts, err := e.Launcher.RunPlain(ctx, e.Rung, root, process)
	return shifts, explainExit(x, err)
}

// lockRoot waits for the one root directory that all stages have in [executor.RungInPlace].
func (e *Engine) lockRoot(ctx context.Context) error {
	if e.Rung != executor.RungInPlace {
		return nil
	}
	select {
	case e.root <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if e.Enter == nil {
		return nil
	}
	leave, err := e.Enter(ctx)
	if err != nil {
		<-e.root
		return err
	}
	e.leave = leave
	return nil
}

func (e *Engine) unlockRoot() {
	if e.Rung == executor.RungInPlace {
		if e.leave != nil {
			e.leave()
		}
		<-e.root
	}
}

// expectRoot starts to make the directory, if it is certain that a process will run.
func (b *builder) expectRoot(ctx context.Context) {
	ahead := b.stage.steps[b.stage.hits:]
	if !b.engine.plain() || !slices.ContainsFunc(ahead, func(st *step) bool { return st.runs() && !st.seen }) {
		return
	}
	layers := slices.Clone(b.layers)
	early := sync.OnceValues(func() (*plainRoot, error) { return b.engine.makeRoot(ctx, layers) })
	b.early = early
	b.engine.background.Go(func() error {
		_, err := early()
		return err
	})
}

// plainRoot is the stage's directory with all its layers, recorded.
func (b *builder) plainRoot(ctx context.Context) (*plainRoot, error) {
	var err error
	if b.root == nil && b.early != nil {
		b.root, err = b.early()
		b.early = nil
	}
	if b.root != nil {
		err = b.advance(ctx)
	}
	if errors.Is(err, rootfs.ErrEntangled) {
		b.releaseRoot()
		err = nil
	}
	if b.root == nil && err == nil {
		b.root, err = b.engine.makeRoot(ctx, slices.Clone(b.layers))
	}
	if err != nil {
		return nil, err
	}
	return b.root, b.addKernelDirs(ctx)
}

// makeRoot makes a directory of layers.
func (e *Engine) makeRoot(ctx context.Context, layers []*Layer) (*plainRoot, error) {
	p := &plainRoot{layers: layers}
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
	if p.dir == "" {
		if err := e.makePlaces(&p.dir); err != nil {
			return nil, err
		}
		losses, err := rootfs.UnpackMerged(ctx, p.dir, all, e.trees())
		e.warnLosses(losses)
		if err != nil {
			return nil, err
		}
	}
	p.record, err = snapshot.Take(ctx, p.dir, e.snapshots())
	return p, err
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

// releaseRoot removes the directory, once it is read.
func (b *builder) releaseRoot() {
	p, early := b.root, b.early
	b.root, b.early = nil, nil
	if p == nil && early == nil {
		return
	}
	b.engine.background.Go(func() error {
		if p == nil {
			if p, _ = early(); p == nil {
				return nil // whoever waited for it was told why
			}
		}
		_ = p.settle() // likewise
		return errors.Join(rootfs.RemoveAll(p.dir), os.Remove(p.aside))
	})
}

// mountedPlain shows the files that a mount is to show, in a directory of their own.
func (b *builder) mountedPlain(ctx context.Context, x effect.Mount) (executor.Mount, error) {
	dir, err := b.shownFiles(ctx, x)
	if err != nil {
		return executor.Mount{}, err
	}
	show := executor.Mount{
		Kind: executor.MountLayers, SubPath: mountedName, ReadOnly: x.Access == effect.ReadOnly,
		Layers: executor.Rootfs{LayersDir: b.engine.Dir, Lowers: []string{dir}},
	}
	return show, b.engine.makePlaces(&show.Layers.Merged)
}
