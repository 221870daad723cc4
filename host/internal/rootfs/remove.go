package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// maxRemoveDepth is how many directories a removal holds open on the way down. Deeper ones are moved up first: a process
// can nest directories without end, but not a builder its descriptors.
const maxRemoveDepth = 128

// RemoveAll deletes a directory tree on disk, whatever modes its directories have. It follows no symlink and enters no
// mount; what is mounted below is an error. A path that does not exist is none, also where another process deletes the same.
func RemoveAll(dir string) error {
	dir = filepath.Clean(dir)
	parent, err := openDir(filepath.Dir(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove %q: %w", dir, err)
	}
	err = removeAt(int(parent.Fd()), filepath.Base(dir))
	if err != nil {
		err = fmt.Errorf("remove %q: %w", dir, err)
	}
	return errors.Join(err, parent.Close())
}

// RemoveAt is [RemoveAll] of what has a name in an open directory, which may be open as a path only.
func RemoveAt(dirfd int, name string) error {
	if err := removeAt(dirfd, name); err != nil {
		return fmt.Errorf("remove %q: %w", name, err)
	}
	return nil
}

// removeAt deletes what name is in an open directory.
func removeAt(dirfd int, name string) error {
	err := unix.Unlinkat(dirfd, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) {
		return fmt.Errorf("%q: %w", name, err)
	}
	r := remover{spare: make(chan struct{}, removers)}
	return r.tree(dirfd, name)
}

// Empty deletes what is in an open directory, wherever it lies, and leaves the directory. It may have been removed.
func Empty(fd int) error {
	again, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("empty directory: %w", err)
	}
	dir := os.NewFile(uintptr(again), ".")
	names, err := dir.Readdirnames(-1)
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	if err := errors.Join(err, dir.Close()); err != nil {
		return fmt.Errorf("empty directory: %w", err)
	}
	for _, name := range names {
		if err := removeAt(fd, name); err != nil {
			return fmt.Errorf("empty directory: %w", err)
		}
	}
	return nil
}

// removers is how many goroutines help with a removal, which waits for the disk's journal more than for a processor.
const removers = 4

// remover deletes one tree.
type remover struct {
	spare chan struct{} // holds one element for each helper at work
	top   int           // descriptor of the tree's root
	moved atomic.Int64
}

func (r *remover) tree(dirfd int, name string) error {
	top, err := openToEmpty(dirfd, name)
	if err != nil {
		return unlessGone(err)
	}
	defer func() { _ = top.Close() }()
	r.top = int(top.Fd())
	for before := int64(-1); before != r.moved.Load(); { // again when directories were moved here
		before = r.moved.Load()
		if _, err := top.Seek(0, 0); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		if err := r.empty(top, 0); err != nil {
			return err
		}
	}
	return asRemoved(name, unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR))
}

// empty deletes all entries of an open directory.
func (r *remover) empty(dir *os.File, depth int) error {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return unlessGone(fmt.Errorf("read directory %q: %w", dir.Name(), err))
	}
	fd := int(dir.Fd())
	var helpers errgroup.Group
	for _, name := range names {
		err := unix.Unlinkat(fd, name, 0)
		if !errors.Is(err, unix.EISDIR) {
			if err := asRemoved(name, err); err != nil {
				return errors.Join(err, helpers.Wait())
			}
			continue
		}
		select {
		case r.spare <- struct{}{}:
			helpers.Go(func() error {
				defer func() { <-r.spare }()
				return r.subdirectory(fd, name, depth+1)
			})
		default:
			if err := r.subdirectory(fd, name, depth+1); err != nil {
				return errors.Join(err, helpers.Wait())
			}
		}
	}
	return helpers.Wait()
}

func (r *remover) subdirectory(dirfd int, name string, depth int) error {
	if depth >= maxRemoveDepth {
		return r.moveUp(dirfd, name)
	}
	dir, err := openToEmpty(dirfd, name)
	if err != nil {
		return unlessGone(err)
	}
	if err := errors.Join(r.empty(dir, depth), dir.Close()); err != nil {
		return err
	}
	return asRemoved(name, unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR))
}

// moveUp puts a directory into the root of the tree, to be deleted from there.
func (r *remover) moveUp(dirfd int, name string) error {
	for {
		to := ".deep-" + strconv.FormatInt(r.moved.Add(1), 10)
		err := unix.Renameat2(dirfd, name, r.top, to, unix.RENAME_NOREPLACE)
		switch {
		case errors.Is(err, unix.EEXIST):
		case err != nil:
			return unlessGone(fmt.Errorf("move %q: %w", name, err))
		default:
			return nil
		}
	}
}

// openToEmpty opens a directory to delete what is in it, taking the right to do so where its mode denies it.
func openToEmpty(dirfd int, name string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY
	how := unix.OpenHow{
		Flags:   flags | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, fmt.Errorf("stat %q: %w", name, err)
	}
	if st.Mode&0o700 != 0o700 && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := unix.Fchmodat(dirfd, name, st.Mode&0o7777|0o700, 0); err != nil && !errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("set mode of %q: %w", name, err)
		}
	}
	fd, err := unix.Openat2(dirfd, name, &how)
	if errors.Is(err, unix.EXDEV) {
		return nil, fmt.Errorf("%q: something is mounted there", name)
	}
	if err != nil {
		return nil, fmt.Errorf("open directory %q: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func asRemoved(name string, err error) error {
	if err == nil {
		return nil
	}
	return unlessGone(fmt.Errorf("%q: %w", name, err))
}

// unlessGone is err, unless it says that there is nothing any more: somebody else has deleted it.
func unlessGone(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
