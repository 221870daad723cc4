package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
	"github.com/trowel-build/trowel/host/internal/secret"
)

// What a mount shows is made here, and is the same however it is attached: see executor.Mount for that.

// mounted is what the mounts of a process show.
type mounted struct {
	mounts  []executor.Mount // in the order of targets
	targets []rootfs.Target
	env     []string
	// caches are those in use, by key: a process that mounts one twice has it once.
	caches   map[string]*usedCache
	watched  []*watched // directories that a process in place may have changed
	releases []func() error
}

func (m *mounted) add(target rootfs.Target, show executor.Mount) {
	m.targets = append(m.targets, target)
	m.mounts = append(m.mounts, show)
}

// release is called when the process is over, whatever came of it.
func (m *mounted) release() error {
	var errs []error
	for _, f := range slices.Backward(m.releases) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// materialise makes what the mounts of a process show. The result has to be released in any case.
func (b *builder) materialise(ctx context.Context, mounts []effect.Mount) (*mounted, error) {
	m := &mounted{caches: map[string]*usedCache{}}
	// What is read is built before a cache is locked: its steps may want the same one.
	for _, x := range mounts {
		if x.ReadsFiles() {
			if _, err := b.sourceTree(ctx, x.From); err != nil {
				return m, fmt.Errorf("--mount=type=%s: %w", x.Kind, err)
			}
		}
	}
	if err := b.acquireCaches(ctx, m, mounts); err != nil {
		return m, err
	}
	for _, x := range mounts {
		var err error
		switch x.Kind {
		case effect.MountBind:
			err = b.showFiles(ctx, m, x)
		case effect.MountCache:
			b.showCache(m, x)
		case effect.MountTmpfs:
			m.add(rootfs.Target{Path: x.Target, Type: filetree.Directory}, executor.Mount{
				Kind: executor.MountTmpfs, Size: x.Size, ReadOnly: x.Access == effect.ReadOnly,
			})
		case effect.MountSecret:
			err = b.showSecret(ctx, m, x)
		case effect.MountSSH:
			err = b.showAgent(ctx, m, x)
		}
		if err != nil {
			return m, fmt.Errorf("--mount=type=%s: %w", x.Kind, err)
		}
	}
	return m, nil
}

// at gives the mounts their targets as they were resolved, and puts them in order: what lies below another's target goes
// after it.
func (m *mounted) at(targets []string) []executor.Mount {
	for i, t := range targets {
		m.mounts[i].Target = "/" + t
	}
	slices.SortStableFunc(m.mounts, func(a, b executor.Mount) int { return strings.Compare(a.Target, b.Target) })
	return m.mounts
}

// showFiles shows files of a stage, an image or a context. What a process writes there goes to a directory of its own.
func (b *builder) showFiles(ctx context.Context, m *mounted, x effect.Mount) error {
	typ, err := b.sourceType(ctx, x)
	if err != nil {
		return err
	}
	if b.engine.plain() {
		show, err := b.mountedPlain(ctx, m, x)
		m.add(rootfs.Target{Path: x.Target, Type: typ}, show)
		return err
	}
	layers, err := b.layersAt(ctx, x)
	if err != nil {
		return err
	}
	show := executor.Mount{Kind: executor.MountLayers, Layers: layers.Rootfs, SubPath: layers.path, ReadOnly: x.Access == effect.ReadOnly}
	made := []*string{&show.Layers.Merged}
	if x.Access == effect.ReadWrite {
		made = append(made, &show.Layers.Upper, &show.Layers.Work)
	}
	if err := b.engine.makePlaces(made...); err != nil {
		return err
	}
	if x.Access == effect.ReadWrite {
		view, err := b.viewAt(ctx, x)
		if err != nil {
			return err
		}
		if err := rootfs.MakeUpper(show.Layers.Upper, view, b.engine.trees()); err != nil {
			return err
		}
		m.releases = append(m.releases, func() error {
			b.engine.background.Go(func() error {
				return errors.Join(rootfs.RemoveAll(show.Layers.Upper), rootfs.RemoveAll(show.Layers.Work))
			})
			return nil
		})
	}
	m.add(rootfs.Target{Path: x.Target, Type: typ}, show)
	return nil
}

// sourceType finds out what a mount shows: a directory or a file.
func (b *builder) sourceType(ctx context.Context, x effect.Mount) (filetree.Type, error) {
	tree, err := b.sourceTree(ctx, x.From)
	if err != nil {
		return 0, err
	}
	_, n, err := tree.Resolve(x.Source, filetree.FollowLast)
	if err != nil {
		return 0, missingSource(x, err)
	}
	if n.IsDir() {
		return filetree.Directory, nil
	}
	return filetree.Regular, nil
}

// stack is layers on disk, and where in them the files of a mount are.
type stack struct {
	executor.Rootfs
	path string
}

// layersAt puts the files that a mount shows on disk: all layers of a stage or image, or else what is shown. The ignore rules
// of a context have been applied to it.
func (b *builder) layersAt(ctx context.Context, x effect.Mount) (stack, error) {
	e := b.engine
	if !e.isBuilt(mountSource(x)) {
		dir, err := b.shownFiles(ctx, x)
		return stack{executor.Rootfs{LayersDir: e.Dir, Lowers: []string{dir}}, mountedName}, err
	}
	layers, err := e.baseLayers(ctx, x.From, b.stage.target)
	if err != nil {
		return stack{}, err
	}
	lowers, err := (&builder{engine: e, stage: b.stage, layers: layers}).lowers(ctx)
	if err != nil {
		return stack{}, err
	}
	if len(lowers) == 0 {
		lowers = []string{e.place()}
		err = os.Mkdir(filepath.Join(e.Dir, lowers[0]), 0o755)
	}
	return stack{executor.Rootfs{LayersDir: e.Dir, Lowers: lowers}, x.Source}, err
}

// viewAt is the tree of which layersAt has the files.
func (b *builder) viewAt(ctx context.Context, x effect.Mount) (*filetree.Tree, error) {
	if !b.engine.isBuilt(mountSource(x)) {
		return filetree.Empty(), nil
	}
	return b.sourceTree(ctx, x.From)
}

// shownFiles puts what a mount shows into a directory, once for all mounts that show the same.
func (b *builder) shownFiles(ctx context.Context, x effect.Mount) (string, error) {
	e := b.engine
	e.mu.Lock()
	key := shownFiles{x.From, x.Source}
	if e.shown[key] == nil {
		e.shown[key] = &lazy[string]{}
	}
	made := e.shown[key]
	e.mu.Unlock()
	return made.get(func() (string, error) {
		changes, err := mountedFiles(ctx, x, mountedName, b.sourceTree)
		if err != nil {
			return "", err
		}
		// What was hashed for the cache keys must be what is shown: a file that changes in between fails the build.
		if err := e.digestChanges(ctx, changes); err != nil {
			return "", err
		}
		name := e.place()
		dir := filepath.Join(e.Dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
		return name, e.putWatched(ctx, name, locationName(x.From), func() error { return e.putFiles(ctx, dir, changes) })
	})
}

// shownFiles names files that are mounted.
type shownFiles struct {
	from   effect.Location
	source string
}

// putFiles makes files in an empty directory.
func (e *Engine) putFiles(ctx context.Context, dir string, changes []filetree.Change) error {
	entries := make([]filetree.Entry, len(changes))
	for i := range changes {
		entries[i] = changes[i].Entry
		entries[i].Offset = int64(i) * 512 // it tells files apart, as their place in a tar would
	}
	read := func(ctx context.Context, visit func(filetree.Entry, io.Reader) error) error {
		for i, x := range entries {
			if x.Type != filetree.Regular || x.Size == 0 {
				continue
			}
			if err := visitFile(ctx, x, changes[i], visit); err != nil {
				return err
			}
		}
		return nil
	}
	losses, err := rootfs.UnpackMerged(ctx, dir, []rootfs.Layer{{Entries: entries, Read: read}}, e.trees())
	e.warnLosses(losses)
	return err
}

func visitFile(ctx context.Context, x filetree.Entry, c filetree.Change, visit func(filetree.Entry, io.Reader) error) (err error) {
	r, err := c.Source.Open(ctx, c.From)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return visit(x, r)
}

// showSecret shows a secret as a file in memory, as a variable, or both. Where there is none the variable is empty, as BuildKit
// has it.
func (b *builder) showSecret(ctx context.Context, m *mounted, x effect.Mount) error {
	value, err := b.engine.Secrets.Get(ctx, x.ID)
	missing := errors.Is(err, secret.ErrNotFound) && x.Need == effect.Optional
	if err != nil && !missing {
		return err
	}
	if x.Env != "" {
		m.env = append(m.env, x.Env+"="+string(value))
	}
	if x.Target == "" || missing {
		return nil
	}
	uid, gid := b.engine.owners.OnDisk(uint32(x.UID), uint32(x.GID))
	m.add(rootfs.Target{Path: x.Target, Type: filetree.Regular}, executor.Mount{
		Kind: executor.MountSecret, Content: value, Mode: uint32(x.Mode), UID: uid, GID: gid,
	})
	return nil
}
