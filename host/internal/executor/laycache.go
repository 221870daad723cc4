package executor

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// A writable bind mount shows a directory that is kept, a cache. Its entries are moved to the target and back. Meanwhile they
// are nowhere else, so the directory is locked: of two processes that share it the second waits. See RATIONALE.md.

// claim says where what lies at a path below an inode is shown.
type claim struct {
	base inode
	sub  string
	path string
}

// claimed finds out whether the same files are shown already: a process that mounts a cache twice sees one through a link.
func (l *laid) claimed(base inode, sub string, m Mount) (at string, ok bool, err error) {
	for _, c := range l.claims {
		if c.base != base {
			continue
		}
		if c.sub == "" || c.sub == sub || strings.HasPrefix(sub, c.sub+"/") {
			return path.Join(c.path, strings.TrimPrefix(sub, c.sub)), true, nil
		}
		if sub == "" || strings.HasPrefix(c.sub, sub+"/") {
			return "", false, &SetupError{
				Call: "mount", Subject: m.Target, Err: errors.New("a part of it is mounted too, and there are no real mounts here"),
				Hint: "mount the whole once",
			}
		}
	}
	return "", false, nil
}

// base opens what a bind mount's SubPath is resolved below.
func (l *laid) base(m Mount) (inode, int, error) {
	from := m.Source
	if m.File != nil {
		raw, err := m.File.SyscallConn()
		if err != nil {
			return inode{}, -1, failure("use open file as mount source", m.File.Name(), err)
		}
		if err := raw.Control(func(fd uintptr) { from = descriptorPath(int(fd)) }); err != nil {
			return inode{}, -1, failure("use open file as mount source", m.File.Name(), err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		return inode{}, -1, failure("open mount source", from, err)
	}
	key := inodeOf(&st)
	if fd, ok := l.bases[key]; ok {
		return key, fd, nil
	}
	flags := unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC
	if typ := st.Mode & unix.S_IFMT; typ != unix.S_IFDIR && typ != unix.S_IFREG {
		flags = unix.O_PATH | unix.O_CLOEXEC
	}
	fd, err := unix.Open(from, flags, 0)
	if err != nil {
		return inode{}, -1, failure("open mount source", from, err)
	}
	l.bases[key] = l.hold(fd)
	return key, fd, nil
}

// lockAll locks what bind mounts show: alone what is moved, and together with others what is only copied. The order is the
// same in every process.
func (l *laid) lockAll(ctx context.Context, mounts []Mount) error {
	how := map[inode]int{}
	names := map[inode]string{}
	for _, m := range mounts {
		if m.Kind != MountBind {
			continue
		}
		key, _, err := l.base(m)
		if err != nil {
			return err
		}
		names[key] = m.Target
		if how[key] == 0 {
			how[key] = unix.LOCK_SH
		}
		if !m.ReadOnly {
			how[key] = unix.LOCK_EX
		}
	}
	keys := make([]inode, 0, len(how))
	for key := range how {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b inode) int {
		return cmp.Or(cmp.Compare(a.dev, b.dev), cmp.Compare(a.ino, b.ino))
	})
	for _, key := range keys {
		if err := l.lock(ctx, l.bases[key], how[key], names[key]); err != nil {
			return err
		}
		if how[key] == unix.LOCK_SH {
			l.readers = append(l.readers, l.bases[key])
		}
	}
	return nil
}

// unlockReaders lets go of what has been copied.
func (l *laid) unlockReaders() error {
	var errs []error
	for _, fd := range l.readers {
		if err := unix.Flock(fd, unix.LOCK_UN); !errors.Is(err, unix.EBADF) {
			errs = append(errs, err)
		}
	}
	return errorOf("unlock what is mounted", errors.Join(errs...))
}

// lock waits for a lock and says so.
func (l *laid) lock(ctx context.Context, fd, how int, target string) error {
	for told := false; ; {
		err := unix.Flock(fd, how|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EBADF): // open as a path: a socket, say
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			return errorOf("lock what is mounted on "+target, err)
		}
		if !told {
			l.notice("what is mounted on " + target + " is in use by another step: waiting for it")
			told = true
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(retryLock):
		}
	}
}

// showKept shows what is kept with all that the process does to it.
func (l *laid) showKept(ctx context.Context, c *cover, m Mount, src shown) error {
	switch src.stat.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return l.showSocket(ctx, c, src)
	case unix.S_IFREG:
		return l.showKeptFile(c, src)
	case unix.S_IFDIR:
	default:
		return errors.New("it is neither a directory nor a file nor a socket")
	}
	key, _, err := l.base(m)
	if err != nil {
		return err
	}
	l.claims = append(l.claims, claim{key, path.Clean("/" + m.SubPath)[1:], c.spot.path})
	kept, err := openDirectoryAt(src.fd, ".")
	if err != nil {
		return err
	}
	l.files = append(l.files, kept)
	if err := l.makeDirectory(c); err != nil {
		return err
	}
	k := &keptDirectory{laid: l, cover: c, kept: kept}
	return k.show(ctx, &src.stat)
}

// keptDirectory is a directory whose entries are shown elsewhere.
type keptDirectory struct {
	laid  *laid
	cover *cover
	kept  *os.File
	since unix.Timespec // by the clock of the file system
}

func (k *keptDirectory) show(ctx context.Context, looks *unix.Stat_t) error {
	c := k.cover
	err := eachEntry(k.kept, func(name string) error { return rename(int(k.kept.Fd()), name, c.made, name) })
	c.giveBack = k.moveBack
	if errors.Is(err, unix.EXDEV) {
		if err := k.takeBack(); err != nil {
			return err
		}
		c.giveBack = nil
		if err = copyDirectory(ctx, int(k.kept.Fd()), c.made); err == nil {
			c.giveBack = k.copyBack
		}
	}
	if err != nil {
		return err
	}
	if !c.filled {
		err = errors.Join(copyAttributes(descriptorPath(int(k.kept.Fd())), descriptorPath(c.made)), setLooks(c.made, looks))
	}
	var st unix.Stat_t
	err = errors.Join(err, unix.Fstat(c.made, &st))
	k.since = st.Ctim
	return err
}

// left calls f for the directories in which the process may have left what is to be kept: the one that it was shown, wherever
// it is now, then one that it may have put in its place.
func (k *keptDirectory) left(f func(dir *os.File) error) error {
	c := k.cover
	var shown, named unix.Stat_t
	if err := unix.Fstat(c.made, &shown); err != nil {
		return err
	}
	if shown.Nlink > 0 {
		if err := inDirectory(c.made, ".", f); err != nil {
			return err
		}
	}
	err := unix.Fstatat(c.spot.dir(), c.spot.name, &named, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil || named.Mode&unix.S_IFMT != unix.S_IFDIR || inodeOf(&named) == inodeOf(&shown) {
		return nil
	}
	return inDirectory(c.spot.dir(), c.spot.name, f)
}

func inDirectory(dir int, name string, f func(dir *os.File) error) error {
	d, err := openDirectoryAt(dir, name)
	if err != nil {
		return err
	}
	return errors.Join(f(d), d.Close())
}

// moveBack moves what the process left to where it is kept.
func (k *keptDirectory) moveBack() error {
	if err := k.takeBack(); err != nil {
		return err
	}
	if err := separate(k.kept, k.since); err != nil {
		return err
	}
	return k.keepLooks()
}

func (k *keptDirectory) takeBack() error {
	return k.left(func(dir *os.File) error {
		return eachEntry(dir, func(name string) error { return replace(int(dir.Fd()), name, int(k.kept.Fd())) })
	})
}

// replace moves an entry, over another one if need be. Where it cannot be moved it is copied; the original is deleted with
// what was laid.
func replace(from int, name string, to int) error {
	err := rename(from, name, to, name)
	if errors.Is(err, unix.EEXIST) {
		if err := rootfs.RemoveAt(to, name); err != nil {
			return err
		}
		err = rename(from, name, to, name)
	}
	if !errors.Is(err, unix.EXDEV) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return copyEntry(from, name, to, name, &st)
	}
	src, dst, err := subdirectories(from, to, name)
	if err != nil {
		return err
	}
	return errors.Join(copyDirectory(context.Background(), src, dst), unix.Close(src), unix.Close(dst)) // it must not be lost
}

// keepLooks keeps what the process made of the directory itself.
func (k *keptDirectory) keepLooks() error {
	var st unix.Stat_t
	if err := unix.Fstat(k.cover.made, &st); err != nil || st.Nlink == 0 || k.cover.filled {
		return err
	}
	return setLooks(int(k.kept.Fd()), &st)
}

// copyBack makes what is kept what the process left.
func (k *keptDirectory) copyBack() error {
	s := &syncer{since: k.since}
	first := true
	err := k.left(func(dir *os.File) error {
		s.add = !first
		first = false
		return s.directory(dir, k.kept)
	})
	if err == nil && first { // it was removed with all that was in it
		err = eachEntry(k.kept, func(name string) error { return rootfs.RemoveAt(int(k.kept.Fd()), name) })
	}
	return errors.Join(err, k.keepLooks())
}

// showKeptFile shows a file of which the content is kept.
func (l *laid) showKeptFile(c *cover, src shown) error {
	if c.filled {
		return errInTheWay
	}
	if err := l.copyFile(c, src); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(c.made, &st); err != nil {
		return err
	}
	c.giveBack = func() error {
		var now unix.Stat_t
		err := unix.Fstatat(c.spot.dir(), c.spot.name, &now, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil || now.Mode&unix.S_IFMT != unix.S_IFREG || inodeOf(&now) == inodeOf(&st) && now.Ctim == st.Ctim {
			return nil // gone or unchanged
		}
		return overwrite(c.spot.dir(), c.spot.name, src.fd, &now)
	}
	return nil
}

// overwrite gives a file that is open as a path the content and looks of another.
func overwrite(dir int, name string, to int, st *unix.Stat_t) error {
	src, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dst, err := unix.Open(descriptorPath(to), unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Join(err, unix.Close(src))
	}
	return errors.Join(copyInto(src, dst, st), unix.Close(src), unix.Close(dst))
}
