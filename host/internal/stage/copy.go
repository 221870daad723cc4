package stage

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/trowel-build/trowel/host/internal/base"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filecopy"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/gitref"
	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// copy plans a COPY or ADD on the stage's tree.
func (b *builder) copy(ctx context.Context, c effect.Copy) (_ []filetree.Change, done func() error, err error) {
	done = func() error { return nil }
	tree, err := b.current(ctx)
	if err != nil {
		return nil, done, err
	}
	spec, err := b.engine.copySpec(ctx, c, b.sourceTree)
	if err != nil {
		return nil, done, err
	}
	if c.Owner != "" {
		uid, gid, err := rootfs.LookupOwner(ctx, tree, c.Owner)
		if err != nil {
			return nil, done, fmt.Errorf("--chown=%s: %w", c.Owner, err)
		}
		spec.Owner = &filecopy.Owner{UID: uid, GID: gid}
	}
	if slices.ContainsFunc(spec.Sources, func(s filecopy.Source) bool { return s.Unpack == effect.UnpackAlways }) {
		spec.Archives, err = filecopy.FindArchives(ctx, spec.Sources, filecopy.ArchiveOptions{Dir: filepath.Dir(b.engine.Dir)})
		if err != nil {
			return nil, done, err
		}
		done = spec.Archives.Close
	}
	changes, err := filecopy.Plan(tree, spec)
	if err != nil {
		return nil, done, b.engine.explainMissing(ctx, c.Sources, err)
	}
	// What was hashed for the cache keys must be what is written: a file that changes in between fails the build.
	return changes, done, b.engine.digestChanges(ctx, changes)
}

// copySpec finds the trees that a copy reads.
func (e *Engine) copySpec(ctx context.Context, c effect.Copy, tree sourceTree) (filecopy.Spec, error) {
	spec := filecopy.Spec{
		Dest: c.Dest, Exclude: c.Exclude, Layout: c.Layout, Overlay: c.Overlay, ModTime: e.timeOf(c.Time),
	}
	var err error
	if spec.Mode, err = filecopy.ParseMode(c.Mode); err != nil {
		return spec, err
	}
	for _, src := range c.Sources {
		s := filecopy.Source{Name: locationName(src.From), Paths: src.Paths, Inline: src.Inline, Unpack: src.Unpack}
		if len(src.Inline) == 0 {
			if s.Tree, err = tree(ctx, src.From); err != nil {
				return spec, err
			}
		}
		spec.Sources = append(spec.Sources, s)
	}
	return spec, nil
}

// sourceTree finds the tree at a location.
type sourceTree func(ctx context.Context, at effect.Location) (*filetree.Tree, error)

// sourceTree is the tree that a copy reads at a location, built or pulled if need be.
func (b *builder) sourceTree(ctx context.Context, at effect.Location) (*filetree.Tree, error) {
	e := b.engine
	switch {
	case at.Stage != "":
		r, err := e.stages[at.Stage].build(ctx, e)
		if err != nil {
			return nil, err
		}
		return r.Tree(ctx)
	case at.IsRemote():
		return e.remoteTree(ctx, at)
	case at.Context != "" && e.Contexts[at.Context] != nil:
		return e.contextTree(ctx, at)
	}
	img, err := e.image(at, b.stage.target)
	if err != nil {
		return nil, err
	}
	return e.imageTree(ctx, img)
}

func (e *Engine) imageTree(ctx context.Context, img *base.Image) (*filetree.Tree, error) {
	return e.merge(ctx, filetree.Empty(), e.layersOf(img))
}

// contextTree is the index of a build context, as far as the build's copies need it.
func (e *Engine) contextTree(ctx context.Context, at effect.Location) (*filetree.Tree, error) {
	c, ok := e.Contexts[at.Context]
	if !ok {
		return nil, fmt.Errorf("build context %q was not opened", at.Context)
	}
	return e.contextTrees[at.Context].get(func() (*filetree.Tree, error) {
		var wanted []string
		for _, s := range e.order {
			for _, st := range s.steps {
				wanted = append(wanted, wantedOf(st.Effects, at)...)
			}
		}
		return c.Tree(ctx, wanted)
	})
}

// digestChanges fills in the content digests of files that nobody read yet.
func (e *Engine) digestChanges(ctx context.Context, changes []filetree.Change) error {
	return e.Contexts[effect.MainContext].Digests(ctx, changes)
}

// explainMissing lets the build context say why it lacks a file: an ignore rule may hide it.
func (e *Engine) explainMissing(ctx context.Context, sources []effect.CopySource, err error) error {
	missing, ok := errors.AsType[*filecopy.MissingError](err)
	if !ok {
		return err
	}
	for _, src := range sources {
		if at, ok := e.Contexts[src.From.Context]; ok && src.From.Context != "" {
			if better := at.Missing(ctx, missing.Path); better != nil {
				return better
			}
		}
	}
	return err
}

func locationName(at effect.Location) string {
	switch {
	case at.Stage != "":
		return fmt.Sprintf("stage %q", at.Stage)
	case at.IsRemote():
		return fmt.Sprintf("%q", gitref.Redact(at.URL.Address+at.Git.Remote))
	case at.Image != "":
		return fmt.Sprintf("image %q", at.Image)
	case at.Context == effect.MainContext:
		return "the build context"
	case at.Context != "":
		return fmt.Sprintf("build context %q", at.Context)
	}
	return "the Dockerfile"
}

// mkdir plans a WORKDIR on the stage's tree.
func (b *builder) mkdir(ctx context.Context, m effect.Mkdir) ([]filetree.Change, error) {
	tree, err := b.current(ctx)
	if err != nil {
		return nil, err
	}
	dir := filecopy.Directory{Path: m.Path, Mode: m.Mode, ModTime: b.engine.timeOf(m.Time)}
	if m.User != "" {
		uid, gid, err := rootfs.Assume(ctx, tree, m.User, func(missing error) {
			b.engine.warn(fmt.Sprintf("make directory %q for USER %s: %v", m.Path, m.User, missing))
		})
		if err != nil {
			return nil, fmt.Errorf("make directory %q for USER %s: %w", m.Path, m.User, err)
		}
		dir.Owner = &filecopy.Owner{UID: uid, GID: gid}
	}
	return filecopy.Mkdir(tree, dir)
}

// symlink plans a symbolic link.
func (b *builder) symlink(ctx context.Context, x effect.Symlink) ([]filetree.Change, error) {
	tree, err := b.current(ctx)
	if err != nil {
		return nil, err
	}
	return filecopy.Symlink(tree, x.Path, x.Target, b.engine.timeOf(x.Time))
}

// remove plans a removal.
func (b *builder) remove(ctx context.Context, x effect.Remove) ([]filetree.Change, error) {
	tree, err := b.current(ctx)
	if err != nil {
		return nil, err
	}
	return filecopy.Remove(tree, x.Path)
}
