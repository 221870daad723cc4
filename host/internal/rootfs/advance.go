package rootfs

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Advance makes in a directory of [UnpackMerged]'s what a further layer changes. The changes are sorted by
// [filetree.Compare]. The error wraps [ErrEntangled] where a path of the layer leads through a symlink: then, as after any
// other error, the directory is of no use any more.
func Advance(ctx context.Context, dir string, changes []filetree.Change, opts Options) (losses []Loss, err error) {
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

// advance is a layer on its way into a directory.
type advance struct {
	site  *site
	crew  *crew
	links []pendingLink
	dirs  []filetree.Entry
}

// explain recognises that a parent is no directory on disk.
func (a *advance) explain(err error) error {
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
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
	if err := a.clear(c.Path); err != nil {
		return err
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
