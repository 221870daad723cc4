package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/identity"
	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// maxPath is the longest path that the kernel takes, PATH_MAX without its NUL. Deeper trees, which a process can make by
// changing directories on the way, no runtime could unpack.
const maxPath = 4095

// capability is the one extended attribute that goes into layers.
const capability = "security.capability"

// marks are the names of overlayfs's own extended attributes.
type marks struct{ opaque, whiteout, redirect, metacopy string }

func marksOf(f rootfs.Form) marks {
	p := f.Prefix()
	return marks{opaque: p + "opaque", whiteout: p + "whiteout", redirect: p + "redirect", metacopy: p + "metacopy"}
}

// found is a file of the upper directory.
type found struct {
	name     string
	stat     unix.Stat_t
	link     string            // target of a symlink
	xattrs   map[string]string // capabilities alone
	owner    string            // as recorded, if it was
	heir     uint32            // the group that it has of its directory, where that must be inferred: see inherit
	heirs    uint32            // the group that what is made in it has, likewise
	mark     mark
	children []*found // sorted by name
}

// mark is what overlayfs notes of a file.
type mark uint8

const (
	noMark mark = iota
	whiteout
	opaque
	untouched // a directory that is not shown
)

func (f *found) format() uint32 { return f.stat.Mode & unix.S_IFMT }

func (f *found) isDir() bool { return f.format() == unix.S_IFDIR }

// scanner reads a directory tree, directories in parallel.
type scanner struct {
	opts  Options
	spare chan struct{} // holds one element for each goroutine at work
	marks marks
}

func (s *scanner) scan(ctx context.Context, dir string) (*found, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	f := os.NewFile(uintptr(fd), dir)
	root := &found{}
	if err := unix.Fstat(fd, &root.stat); err != nil {
		return nil, errors.Join(&os.PathError{Op: "stat", Path: dir, Err: err}, f.Close())
	}
	return root, errors.Join(s.dir(ctx, f, root, ""), f.Close())
}

// dir reads the entries of an open directory and all below them.
func (s *scanner) dir(ctx context.Context, f *os.File, into *found, p string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("read directory %q: %w", p, err)
	}
	slices.Sort(names)
	fd := int(f.Fd())
	files := make([]found, len(names))
	into.children = make([]*found, len(names))
	var helpers errgroup.Group
	for i, name := range names {
		child := &files[i]
		child.name, into.children[i] = name, child
		at := filetree.Join(p, name)
		err := s.entry(fd, child, at)
		if err == nil && child.isDir() {
			select {
			case s.spare <- struct{}{}:
				helpers.Go(func() error {
					defer func() { <-s.spare }()
					return s.subdirectory(ctx, fd, child, at)
				})
			default:
				err = s.subdirectory(ctx, fd, child, at)
			}
		}
		if err != nil {
			return errors.Join(err, helpers.Wait())
		}
	}
	return helpers.Wait()
}

func (s *scanner) subdirectory(ctx context.Context, dirfd int, child *found, p string) error {
	if len(p) > maxPath {
		return fmt.Errorf("a path below %q is longer than %d bytes", p[:strings.IndexByte(p, '/')], maxPath)
	}
	f, err := open(dirfd, child.name, unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("open directory %q: %w", p, err)
	}
	err = s.xattrs(int(f.Fd()), child, p)
	if err == nil {
		err = s.dir(ctx, f, child, p)
	}
	return errors.Join(err, f.Close())
}

// open opens what fstatat(2) found. Nobody should have changed it since; if somebody did, no symlink is followed and no
// FIFO waited for.
func open(dirfd int, name string, flags int) (*os.File, error) {
	for {
		fd, err := unix.Openat(dirfd, name, flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

// entry reads what a file is. Directories are opened and read on elsewhere.
func (s *scanner) entry(dirfd int, f *found, p string) error {
	if err := unix.Fstatat(dirfd, f.name, &f.stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat %q: %w", p, err)
	}
	switch f.format() {
	case unix.S_IFREG:
		return s.file(dirfd, f, p)
	case unix.S_IFLNK:
		target := make([]byte, maxPath+1)
		n, err := unix.Readlinkat(dirfd, f.name, target)
		if err != nil {
			return fmt.Errorf("read symlink %q: %w", p, err)
		}
		f.link = string(target[:n])
	case unix.S_IFCHR:
		if f.stat.Rdev == 0 {
			f.mark = whiteout
		}
	}
	return nil
}

func (s *scanner) file(dirfd int, f *found, p string) error {
	fd, err := unix.Openat(dirfd, f.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open file %q: %w", p, err)
	}
	return errors.Join(s.xattrs(fd, f, p), unix.Close(fd))
}

// xattrs reads the extended attributes of an open file or directory that mean something to us.
func (s *scanner) xattrs(fd int, f *found, p string) error {
	var list [1024]byte
	names, err := listXattrs(fd, list[:])
	if err != nil {
		return fmt.Errorf("list extended attributes of %q: %w", p, err)
	}
	for name := range strings.SplitSeq(names, "\x00") {
		switch name {
		case capability:
			value, err := xattr(fd, name)
			if err != nil {
				return fmt.Errorf("read %s of %q: %w", name, p, err)
			}
			f.xattrs = map[string]string{name: value}
		case identity.Attribute:
			value, err := xattr(fd, name)
			if err != nil {
				return fmt.Errorf("read %s of %q: %w", name, p, err)
			}
			f.owner = value
		case s.marks.opaque:
			value, err := xattr(fd, name)
			if err != nil {
				return fmt.Errorf("read %s of %q: %w", name, p, err)
			}
			if value == "y" { // "x" says that whiteouts in it may be files
				f.mark = opaque
			}
		case s.marks.whiteout:
			if f.format() == unix.S_IFREG && f.stat.Size == 0 {
				f.mark = whiteout
			}
		case s.marks.redirect, s.marks.metacopy:
			return fmt.Errorf("%q has the attribute %s: the overlay was mounted with redirect_dir or metacopy, whose outcome no layer can hold", p, name)
		}
	}
	return nil
}

func listXattrs(fd int, buf []byte) (string, error) {
	n, err := unix.Flistxattr(fd, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 64<<10) // XATTR_LIST_MAX
		n, err = unix.Flistxattr(fd, buf)
	}
	if errors.Is(err, unix.ENOTSUP) {
		return "", nil
	}
	if err != nil || n == 0 {
		return "", err
	}
	return string(buf[:n]), nil
}

func xattr(fd int, name string) (string, error) {
	var value [256]byte // capabilities have 24 bytes at most, overlayfs's marks one
	n, err := unix.Fgetxattr(fd, name, value[:])
	if err != nil {
		return "", err
	}
	return string(value[:n]), nil
}
