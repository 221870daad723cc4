package rootfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Advance makes in a directory of [UnpackMerged]'s what a further layer changes. The changes may come in any order. The error
// wraps [ErrEntangled] where a path of the layer leads through a symlink or a directory that no layer has, or comes twice: then,
// as after any other error, the directory is of no use any more.
func Advance(ctx context.Context, dir string, changes []filetree.Change, opts Options) (losses []Loss, err error) {
	if changes, err = inOrder(changes); err != nil {
		return nil, err
	}
	root, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	s := &site{root: root, opts: opts}
	a := advance{site: s, crew: newCrew(s)}
	defer func() { err = errors.Join(err, s.close()) }()
	for i := range changes {
		if err = a.apply(ctx, &changes[i]); err != nil {
			break
		}
	}
	if err = errors.Join(err, a.crew.stop()); err != nil {
		return nil, a.explain(err)
	}
	return s.losses, a.explain(a.finish())
}

// inOrder sorts changes, which mostly are: what is in a directory comes after it, and what a layer deletes before what it makes
// there. A path that is made twice is an error.
func inOrder(changes []filetree.Change) ([]filetree.Change, error) {
	order := func(a, b filetree.Change) int {
		return cmp.Or(filetree.Compare(a.Path, b.Path), cmp.Compare(making(a.Type), making(b.Type)))
	}
	if !slices.IsSortedFunc(changes, order) {
		changes = slices.Clone(changes)
		slices.SortStableFunc(changes, order)
	}
	for i := range changes[:max(len(changes)-1, 0)] {
		if a, b := &changes[i], &changes[i+1]; making(a.Type) == 1 && a.Path == b.Path {
			return nil, fmt.Errorf("unpack %q: it comes twice: %w", a.Path, ErrEntangled)
		}
	}
	return changes, nil
}

// making is 0 for a change that deletes, else 1.
func making(t filetree.Type) int {
	if t == filetree.Whiteout || t == filetree.Opaque {
		return 0
	}
	return 1
}

// advance is a layer on its way into a directory.
type advance struct {
	site  *site
	crew  *crew
	links []pendingLink
	dirs  []filetree.Entry
	// fresh is the last directory that was not there before, of those that lie in none such: nothing needs to be deleted in it,
	// as each path comes once.
	fresh string
}

// explain recognises that a parent is no directory on disk, or is not there.
func (a *advance) explain(err error) error {
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w: %w", ErrEntangled, err)
	}
	return err
}

func (a *advance) apply(ctx context.Context, c *filetree.Change) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := checkPath(c.Path); err != nil {
		return err
	}
	switch c.Type {
	case filetree.Whiteout:
		return a.clear(c.Path)
	case filetree.Opaque:
		return a.empty(c.Path)
	case filetree.Directory:
		a.dirs = append(a.dirs, c.Entry)
		return a.directory(c.Path)
	}
	if !a.isFresh(c.Path) {
		if err := a.clear(c.Path); err != nil {
			return err
		}
	}
	switch c.Type {
	case filetree.Regular:
		return a.file(ctx, c)
	case filetree.Symlink:
		return a.site.makeSymlink(&c.Entry)
	case filetree.Hardlink:
		if err := checkPath(c.Link); err != nil {
			return err
		}
		a.links = append(a.links, pendingLink{path: c.Path, target: c.Link})
		return nil
	case filetree.CharDevice, filetree.BlockDevice, filetree.FIFO:
		return a.site.makeNode(&c.Entry)
	}
	return fmt.Errorf("unpack %q: unknown type %d", c.Path, c.Type)
}

// isFresh says whether a path is in a directory that was not there before.
func (a *advance) isFresh(p string) bool {
	return a.fresh != "" && len(p) > len(a.fresh) && p[len(a.fresh)] == '/' && strings.HasPrefix(p, a.fresh)
}

// clear deletes what is at a path.
func (a *advance) clear(p string) error {
	fd, name, err := a.site.parent(p)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	err = unix.Unlinkat(fd, name, 0)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EISDIR):
		return a.site.remove(p)
	}
	return fmt.Errorf("remove %q: %w", p, err)
}

// empty deletes what is in a directory.
func (a *advance) empty(p string) error {
	a.site.dirs.close() // a cached directory may be what is deleted
	fd, err := openBeneath(a.site.fd(), p, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open directory %q: %w", p, err)
	}
	return errors.Join(Empty(fd), unix.Close(fd))
}

// directory makes a directory, unless there is one.
func (a *advance) directory(p string) error {
	if p == "" {
		return nil
	}
	if a.isFresh(p) {
		return a.site.makeDir(p)
	}
	fd, name, err := a.site.parent(p)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	err = unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil
	}
	if err == nil {
		err = unix.Unlinkat(fd, name, 0)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("replace %q: %w", p, err)
	}
	a.fresh = p
	return a.site.makeDir(p)
}

func (a *advance) file(ctx context.Context, c *filetree.Change) (err error) {
	if c.Source == nil {
		return a.crew.file(&c.Entry, nil)
	}
	r, err := c.Source.Open(ctx, c.From)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return a.crew.file(&c.Entry, r)
}

// finish makes what needs all files to be there.
func (a *advance) finish() error {
	for _, l := range a.links {
		switch err := a.site.makeHardlink(l.path, l.target); {
		case errors.Is(err, unix.ENOENT):
			a.site.lose(l.path, "hardlink", err) // to a device that is lost
		case err != nil:
			return err
		}
	}
	for i := len(a.dirs) - 1; i >= 0; i-- { // what is in a directory comes after it
		if err := a.site.settleDir(&a.dirs[i], mergesLower); err != nil {
			return err
		}
	}
	return nil
}
