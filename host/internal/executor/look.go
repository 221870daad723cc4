package executor

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// dirFlags open a directory to read it, and never what a symlink leads to.
const dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// look is what a directory says of itself.
type look struct {
	Mode     uint32
	UID, GID int
	Modified unix.Timespec
	Xattrs   map[string][]byte
}

func readLook(dir int) (*look, error) {
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return nil, err
	}
	l := &look{Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid), Modified: st.Mtim}
	names, err := xattrNames(dir)
	if err != nil || len(names) == 0 {
		return l, err
	}
	l.Xattrs = map[string][]byte{}
	for _, name := range names {
		value := make([]byte, 1<<16) // the kernel's limit
		n, err := unix.Fgetxattr(dir, name, value)
		if err != nil {
			return nil, err
		}
		l.Xattrs[name] = value[:n]
	}
	return l, nil
}

// apply makes a directory look so.
func (l *look) apply(dir int) error {
	names, err := xattrNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, ok := l.Xattrs[name]; !ok {
			if err := unix.Fremovexattr(dir, name); err != nil {
				return err
			}
		}
	}
	for name, value := range l.Xattrs {
		if err := unix.Fsetxattr(dir, name, value, 0); err != nil {
			return err
		}
	}
	if err := unix.Fchown(dir, l.UID, l.GID); err != nil {
		return err
	}
	if err := unix.Fchmod(dir, l.Mode); err != nil {
		return err
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, l.Modified}
	return unix.UtimesNanoAt(dir, "", times, unix.AT_EMPTY_PATH)
}

// xattrNames are those that can be given to another directory: not overlayfs' own, nor what a security module keeps.
func xattrNames(dir int) ([]string, error) {
	buf := make([]byte, 1<<16)
	n, err := unix.Flistxattr(dir, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range splitNul(buf[:n]) {
		if len(name) > 5 && name[:5] == "user." || name == "system.posix_acl_access" || name == "system.posix_acl_default" {
			names = append(names, name)
		}
	}
	return names, nil
}

func splitNul(b []byte) []string {
	var list []string
	start := 0
	for i, c := range b {
		if c == 0 {
			list = append(list, string(b[start:i]))
			start = i + 1
		}
	}
	return list
}

// eachName calls f with every name in a directory, all of which are read before.
func eachName(dir int, where string, f func(name string) error) error {
	again, err := unix.Openat(dir, ".", dirFlags, 0)
	if err != nil {
		return failure("open directory", "/"+where, err)
	}
	file := os.NewFile(uintptr(again), where)
	names, err := file.Readdirnames(-1)
	if err := errors.Join(err, file.Close()); err != nil {
		return failure("read directory", "/"+where, err)
	}
	for _, name := range names {
		if err := f(name); err != nil {
			return err
		}
	}
	return nil
}

func openSub(dir int, name string) (int, error) { return unix.Openat(dir, name, dirFlags, 0) }

// both calls f with the two directories of one name in two others.
func both(where, name string, from, to int, f func(from, to int) error) (err error) {
	from, err = openSub(from, name)
	if err != nil {
		return failure("open directory", "/"+where, err)
	}
	defer also(&err, func() error { return unix.Close(from) })
	to, err = openSub(to, name)
	if err != nil {
		return failure("open directory", "/"+where, err)
	}
	defer also(&err, func() error { return unix.Close(to) })
	return f(from, to)
}

// rename moves a file to where there is none.
func rename(from int, name string, to int, newName string) error {
	err := unix.Renameat2(from, name, to, newName, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	// A file system that cannot promise it.
	var st unix.Stat_t
	if err := unix.Fstatat(to, newName, &st, unix.AT_SYMLINK_NOFOLLOW); !errors.Is(err, unix.ENOENT) {
		return errors.Join(err, unix.EEXIST)
	}
	return unix.Renameat(from, name, to, newName)
}

// removeEmpty removes a directory unless it holds something.
func removeEmpty(dir int, name, where string) error {
	err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	if err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
		return failure("remove directory", "/"+where, err)
	}
	return nil
}
