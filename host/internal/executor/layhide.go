package executor

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// covered is what lies aside while something is shown in its place.
type covered struct {
	dir  int // where it lies
	name string
	// entries says that it is a directory that could not be moved: its entries lie in a directory of that name.
	entries bool
	// content is that of a file which could not be moved, such as a container's own /etc/resolv.conf.
	content []byte
	file    *os.File
}

// moved is a file that was moved aside.
type moved struct {
	inode inode
	old   unix.Timespec
}

// maxContent is the size of a file that is held in memory to be written back. Container engines mount small ones.
const maxContent = 1 << 20

// hide moves what is at a target aside.
func (l *laid) hide(c *cover) error {
	s := c.spot
	if !s.found {
		return failing("lay mount", s.path, l.noteAside(l.asideName(), asideTarget, s.path))
	}
	l.remember(s.path, &s.stat)
	h := &covered{dir: l.aside, name: l.asideName()}
	if err := l.noteAside(h.name, asideWhole, s.path); err != nil {
		return failure("move aside", s.path, err)
	}
	err := rename(s.dir(), s.name, h.dir, h.name)
	if errors.Is(err, unix.EXDEV) { // another file system of a container's, or a directory of its image
		h.dir, h.name = s.dir(), asidePrefix+h.name
		err = rename(s.dir(), s.name, h.dir, h.name)
	}
	directory := s.stat.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case err == nil:
		c.hidden = h
		return nil
	case errors.Is(err, unix.EINVAL):
		return &SetupError{Call: "mount", Subject: "/" + s.path, Err: errors.New("the builder's own directory lies below it")}
	case !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EBUSY):
		return failure("move aside", s.path, err)
	case directory:
		return l.hideEntries(c)
	default:
		return l.hideContent(c)
	}
}

func (l *laid) asideName() string {
	l.asideCount++
	return strconv.Itoa(l.asideCount)
}

// hideEntries empties a directory that cannot be moved.
func (l *laid) hideEntries(c *cover) error {
	s := c.spot
	dir, err := openDirectoryAt(s.dir(), s.name)
	if err != nil {
		return failure("move aside", s.path, err)
	}
	defer func() { _ = dir.Close() }()
	h := &covered{dir: l.aside, name: l.asideName(), entries: true}
	if err := errors.Join(l.noteAside(h.name, asideLeaving, s.path), unix.Mkdirat(h.dir, h.name, 0o700)); err != nil {
		return failure("move aside", s.path, err)
	}
	fd, err := unix.Openat(s.dir(), s.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return failure("move aside", s.path, err)
	}
	if err := l.touch(l.hold(fd)); err != nil {
		return err
	}
	to, err := openDirectoryAt(h.dir, h.name)
	if err != nil {
		return failure("move aside", s.path, err)
	}
	defer func() { _ = to.Close() }()
	if err := l.moveEntries(dir, to, s.path); err != nil {
		err = errors.Join(err, l.moveEntries(to, dir, s.path), unix.Unlinkat(h.dir, h.name, unix.AT_REMOVEDIR))
		return &SetupError{
			Call: "move aside", Subject: "/" + s.path, Err: err,
			Hint: "the container has something mounted there that is not empty: use another target",
		}
	}
	c.hidden, c.made, c.filled = h, fd, true
	return l.noteAside(h.name, asideEmpty, s.path)
}

// moveEntries moves all entries of a directory into an empty one. Overlayfs moves no directory that an image layer has:
// such a one is made anew, and what it holds is moved.
func (l *laid) moveEntries(from, to *os.File, path string) error {
	return eachEntry(from, func(name string) error {
		var st unix.Stat_t
		if err := unix.Fstatat(int(from.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		l.remember(path+"/"+name, &st)
		err := rename(int(from.Fd()), name, int(to.Fd()), name)
		if !errors.Is(err, unix.EXDEV) || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return err
		}
		return l.moveDirectory(from, to, path, name, &st)
	})
}

func (l *laid) moveDirectory(from, to *os.File, path, name string, st *unix.Stat_t) error {
	sub, err := openDirectoryAt(int(from.Fd()), name)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Close() }()
	if err := unix.Mkdirat(int(to.Fd()), name, 0o700); err != nil {
		return err
	}
	made, err := openDirectoryAt(int(to.Fd()), name)
	if err != nil {
		return err
	}
	defer func() { _ = made.Close() }()
	err = l.moveEntries(sub, made, path+"/"+name)
	if err == nil {
		err = copyAttributes(descriptorPath(int(sub.Fd())), descriptorPath(int(made.Fd())))
	}
	if err == nil {
		err = setLooks(int(made.Fd()), st)
	}
	if err == nil {
		err = unix.Unlinkat(int(from.Fd()), name, unix.AT_REMOVEDIR)
	}
	if err != nil {
		return errors.Join(err, l.moveEntries(made, sub, path+"/"+name), unix.Unlinkat(int(to.Fd()), name, unix.AT_REMOVEDIR))
	}
	return nil
}

// hideContent remembers the content of a file that cannot be moved.
func (l *laid) hideContent(c *cover) error {
	s := c.spot
	if s.stat.Mode&unix.S_IFMT != unix.S_IFREG || s.stat.Size > maxContent {
		return &SetupError{
			Call: "mount", Subject: "/" + s.path, Err: errors.New("the container has something mounted there"),
			Hint: "use another target",
		}
	}
	fd, err := unix.Openat(s.dir(), s.name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EROFS) {
		fd, err = unix.Openat(s.dir(), s.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return failure("move aside", s.path, err)
	}
	f := os.NewFile(uintptr(fd), s.path)
	l.files = append(l.files, f)
	content, err := io.ReadAll(f)
	if err != nil {
		return failure("move aside", s.path, err)
	}
	c.hidden, c.made, c.filled = &covered{content: content, file: f}, fd, true
	return nil
}

// takeAway deletes what was laid, wherever the process has moved it, and what has taken its place.
func (l *laid) takeAway(c *cover, present bool) error {
	if c.filled {
		return l.emptyAgain(c)
	}
	var errs []error
	if c.made >= 0 {
		if dir, name, ok := locate(c.made); ok {
			errs = append(errs, rootfs.RemoveAt(dir, name), unix.Close(dir))
		}
	}
	if present && (c.made >= 0 || c.hidden != nil || !c.spot.found) {
		errs = append(errs, rootfs.RemoveAt(c.spot.dir(), c.spot.name))
	}
	return errors.Join(errs...)
}

// emptyAgain empties a directory that could not be moved; a file is overwritten by putBack.
func (l *laid) emptyAgain(c *cover) error {
	if c.hidden.file != nil {
		return nil
	}
	dir, err := openDirectoryAt(c.spot.dir(), c.spot.name)
	if err != nil {
		return err
	}
	return errors.Join(eachEntry(dir, func(name string) error { return rootfs.RemoveAt(int(dir.Fd()), name) }), dir.Close())
}

// putBack puts what was covered where it was.
func (l *laid) putBack(c *cover) error {
	h, s := c.hidden, c.spot
	switch {
	case h == nil && s.inside && !s.found && c.made >= 0:
		return l.leaveStub(c)
	case h == nil:
		return nil
	case h.file != nil:
		return writeBack(h.file, h.content)
	case !h.entries:
		return rename(h.dir, h.name, s.dir(), s.name)
	}
	if err := l.noteAside(h.name, asideReturning, s.path); err != nil {
		return err
	}
	from, err := openDirectoryAt(h.dir, h.name)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := openDirectoryAt(s.dir(), s.name)
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }()
	if err := l.moveEntries(from, to, s.path); err != nil {
		return err
	}
	return unix.Unlinkat(h.dir, h.name, unix.AT_REMOVEDIR)
}

// leaveStub leaves what a mount inside another one would: the target that had to be made.
func (l *laid) leaveStub(c *cover) error {
	var st unix.Stat_t
	if err := unix.Fstat(c.made, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.Mkdirat(c.spot.dir(), c.spot.name, 0o755)
	}
	return unix.Mknodat(c.spot.dir(), c.spot.name, unix.S_IFREG|0o644, 0)
}

// writeBack overwrites a file if it has another content.
func writeBack(f *os.File, content []byte) error {
	now, err := io.ReadAll(io.NewSectionReader(f, 0, maxContent+1))
	if err == nil && string(now) == string(content) {
		return nil
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	return err
}

// remember notes a file that is about to be moved: see [Shift].
func (l *laid) remember(path string, st *unix.Stat_t) {
	path = strings.TrimPrefix(path, "/")
	if _, back := l.shifts[path]; !back && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		l.shifts[path] = moved{inodeOf(st), st.Ctim}
	}
}

// shifted tells what became of the times of moved files that are back.
func (l *laid) shifted() []Shift {
	var shifts []Shift
	for path, m := range l.shifts {
		fd, err := resolve(l.root, path, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err == nil && inodeOf(&st) == m.inode && st.Ctim != m.old {
			shifts = append(shifts, Shift{Path: path, Old: m.old, New: st.Ctim})
		}
		_ = unix.Close(fd)
	}
	return shifts
}
