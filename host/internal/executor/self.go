package executor

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// executable gives this program's file through a mount of its own that is read-only: a process that makes itself run
// /proc/self/exe, as an interpreter say, must not get hold of a file that it could write (CVE-2019-5736).
func (l *Launcher) executable() (*os.File, error) {
	l.self.Do(func() { l.selfFile, l.selfErr = openExecutable() })
	return l.selfFile, l.selfErr
}

func openExecutable() (*os.File, error) {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, failure("find own executable", "", err)
	}
	// By its name: what the link itself leads to may be a mount of another mount namespace.
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if errors.Is(err, unix.EPERM) {
		return nil, &SetupError{Call: "clone mount of own executable", Err: err, Hint: hintMount(err)}
	}
	if err != nil {
		return copyExecutable() // removed or replaced since it was started
	}
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if err != nil || !isExecutable(fd) {
		if err := unix.Close(fd); err != nil {
			return nil, failure("close own executable", "", err)
		}
		return copyExecutable() // a kernel older than 5.12, or another file of the name
	}
	return os.NewFile(uintptr(fd), path), nil
}

// isExecutable tells whether a descriptor is of the file that this program was started from.
func isExecutable(fd int) bool {
	var got, want unix.Stat_t
	return unix.Fstat(fd, &got) == nil && unix.Stat("/proc/self/exe", &want) == nil &&
		got.Dev == want.Dev && got.Ino == want.Ino
}

// copyExecutable puts this program into a sealed memory file.
func copyExecutable() (_ *os.File, err error) {
	src, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, failure("open own executable", "", err)
	}
	defer also(&err, src.Close)
	fd, err := unix.MemfdCreate("trowel", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, failure("create memory file", "", err)
	}
	dst := os.NewFile(uintptr(fd), "trowel")
	if _, err := io.Copy(dst, src); err != nil {
		return nil, errors.Join(failure("copy own executable", "", err), dst.Close())
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(dst.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, errors.Join(failure("seal own executable", "", err), dst.Close())
	}
	return dst, nil
}
