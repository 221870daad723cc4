package executor

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// copier copies a tree: files share their blocks with the originals where the file system can do that, and never their inodes.
type copier struct {
	ctx   context.Context //nolint:containedctx // of one copy, which it ends
	top   int             // the copy's root
	spare chan struct{}   // holds one element for each goroutine that helps

	mu    sync.Mutex
	links map[inode]string // files of several names, and where the copy has the first
}

// copyDirectory gives an empty directory the content and looks of another. Both may be open as paths.
func copyDirectory(ctx context.Context, from, to int) error {
	c := &copier{
		ctx: ctx, top: to, spare: make(chan struct{}, 2*runtime.GOMAXPROCS(0)), links: map[inode]string{},
	}
	return c.directory(from, to, "")
}

// directory copies what is in a directory, then its looks: its time changes by what is made in it.
func (c *copier) directory(from, to int, path string) (err error) {
	src, err := openDirectoryAt(from, ".")
	if err != nil {
		return err
	}
	defer also(&err, src.Close)
	var helpers errgroup.Group
	for {
		names, err := src.Readdirnames(512)
		for _, name := range names {
			if err := c.entry(&helpers, int(src.Fd()), to, name, path); err != nil {
				return errors.Join(err, helpers.Wait())
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.Join(err, helpers.Wait())
		}
	}
	if err := helpers.Wait(); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	return errors.Join(copyAttributes(descriptorPath(from), descriptorPath(to)), setLooks(to, &st))
}

// entry copies one entry of a directory, a directory perhaps by a helper.
func (c *copier) entry(helpers *errgroup.Group, from, to int, name, path string) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	path += "/" + name
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return c.file(from, to, name, path, &st)
	}
	// The directories are opened here: whoever called goes on, and closes its own.
	src, dst, err := subdirectories(from, to, name)
	if err != nil {
		return err
	}
	copyAll := func() error {
		return errors.Join(c.directory(src, dst, path), unix.Close(src), unix.Close(dst))
	}
	select {
	case c.spare <- struct{}{}:
		helpers.Go(func() error {
			defer func() { <-c.spare }()
			return copyAll()
		})
		return nil
	default:
		return copyAll()
	}
}

// subdirectories opens a directory, and makes one of the name elsewhere.
func subdirectories(from, to int, name string) (src, dst int, err error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if src, err = unix.Openat(from, name, flags, 0); err != nil {
		return -1, -1, err
	}
	if err = unix.Mkdirat(to, name, 0o700); err == nil {
		dst, err = unix.Openat(to, name, flags, 0)
	}
	if err != nil {
		return -1, -1, errors.Join(err, unix.Close(src))
	}
	return src, dst, nil
}

// file copies what is no directory. Names of one file are names of one file in the copy too.
func (c *copier) file(from, to int, name, path string, st *unix.Stat_t) error {
	if st.Nlink < 2 {
		return copyEntry(from, name, to, name, st)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if first, ok := c.links[inodeOf(st)]; ok {
		return unix.Linkat(c.top, first, to, name, 0)
	}
	c.links[inodeOf(st)] = "." + path
	return copyEntry(from, name, to, name, st)
}

// copyEntry copies one thing that is no directory, under a name that is free.
func copyEntry(from int, name string, to int, newName string, st *unix.Stat_t) (err error) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return copyRegular(from, name, to, newName, st)
	case unix.S_IFLNK:
		link, err := readLink(from, name)
		if err == nil {
			err = unix.Symlinkat(link, to, newName)
		}
		if err != nil {
			return err
		}
	default:
		if err := unix.Mknodat(to, newName, st.Mode, int(st.Rdev)); err != nil { //nolint:unconvert // differs by platform
			return err
		}
	}
	fd, err := unix.Openat(to, newName, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(setLooks(fd, st), unix.Close(fd))
}

func copyRegular(from int, name string, to int, newName string, st *unix.Stat_t) error {
	src, err := unix.Openat(from, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dst, err := unix.Openat(to, newName, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return errors.Join(err, unix.Close(src))
	}
	return errors.Join(copyInto(src, dst, st), unix.Close(src), unix.Close(dst))
}

// copyInto gives an empty file the content and looks of another.
func copyInto(src, dst int, st *unix.Stat_t) error {
	if st.Size > 0 {
		if err := copyContent(src, dst, st.Size); err != nil {
			return err
		}
	}
	return errors.Join(copyAttributes(descriptorPath(src), descriptorPath(dst)), setLooks(dst, st))
}

// copyContent copies a file's content, holes as holes.
func copyContent(src, dst int, size int64) error {
	if unix.IoctlFileClone(dst, src) == nil {
		return nil
	}
	for at := int64(0); at < size; {
		data, err := unix.Seek(src, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole up to the end
		}
		end := size
		if err == nil {
			end, err = unix.Seek(src, data, unix.SEEK_HOLE)
		}
		if err != nil {
			data, end = at, size // the file system tells no holes
		}
		if err := copyRange(src, dst, data, end-data); err != nil {
			return err
		}
		at = end
	}
	return unix.Ftruncate(dst, size)
}

// copyRange copies a part of a file, in the kernel where it can.
func copyRange(src, dst int, at, n int64) error {
	in, out := at, at
	for n > 0 {
		done, err := unix.CopyFileRange(src, &in, dst, &out, int(min(n, 1<<30)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil: // between file systems, in an old kernel, behind a seccomp filter
			return copyBytes(src, dst, in, n)
		case done == 0:
			return nil // it has become shorter
		}
		n -= int64(done)
	}
	return nil
}

func copyBytes(src, dst int, at, n int64) error {
	buf := make([]byte, min(n, 256<<10))
	for n > 0 {
		done, err := unix.Pread(src, buf[:min(n, int64(len(buf)))], at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || done == 0 {
			return err
		}
		for chunk := buf[:done]; len(chunk) > 0; {
			w, err := unix.Pwrite(dst, chunk, at)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return &os.PathError{Op: "write", Path: "copy", Err: err}
			}
			chunk, at, n = chunk[max(w, 0):], at+int64(max(w, 0)), n-int64(max(w, 0))
		}
	}
	return nil
}
