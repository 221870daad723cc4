package executor

import (
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What is done to files by descriptors that may be open as paths only.

func chmod(fd int, mode uint32) error { return unix.Chmod(descriptorPath(fd), mode&0o7777) }

func chown(fd int, uid, gid uint32) error {
	return unix.Fchownat(fd, "", int(uid), int(gid), unix.AT_EMPTY_PATH)
}

// setLooks gives a file the owner, mode and times of another. The mode comes after the owner, whose change clears bits of it.
func setLooks(fd int, st *unix.Stat_t) error {
	var now unix.Stat_t
	if err := unix.Fstat(fd, &now); err != nil {
		return err
	}
	if now.Uid != st.Uid || now.Gid != st.Gid {
		if err := chown(fd, st.Uid, st.Gid); err != nil {
			return err
		}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := chmod(fd, st.Mode); err != nil {
			return err
		}
	}
	return setTimes(fd, []unix.Timespec{st.Atim, st.Mtim})
}

// copyAttributes copies extended attributes from one path to another. Those of overlayfs and of security modules belong to
// where the file lies.
func copyAttributes(from, to string) error {
	// Asking for the size first would not do: overlayfs counts without names that it then leaves out.
	names := make([]byte, 1<<10)
	size, err := unix.Listxattr(from, names)
	if errors.Is(err, unix.ERANGE) {
		names = make([]byte, 1<<16) // the kernel's limit
		size, err = unix.Listxattr(from, names)
	}
	if size == 0 && err == nil || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:size]), "\x00"), "\x00") {
		if strings.HasPrefix(name, "trusted.") || strings.HasPrefix(name, "user.overlay.") ||
			strings.HasPrefix(name, "security.") && name != "security.capability" {
			continue
		}
		if err := copyAttribute(from, to, name); err != nil {
			return err
		}
	}
	return nil
}

func copyAttribute(from, to, name string) error {
	value := make([]byte, 1<<16) // the kernel's limit
	n, err := unix.Getxattr(from, name, value)
	if err != nil {
		return err
	}
	err = unix.Setxattr(to, name, value[:n], 0)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil // as cp does
	}
	return err
}

// openDirectoryAt opens a directory to be read.
func openDirectoryAt(dir int, name string) (*os.File, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// eachEntry calls f for each entry of a directory, of which any may be gone afterwards.
func eachEntry(dir *os.File, f func(name string) error) error {
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := f(name); err != nil {
			return err
		}
	}
	return nil
}

// locate finds out where a file lies that is held by descriptor. The result is an open directory and a name in it; it is
// false if the file is deleted.
func locate(fd int) (int, string, bool) {
	at, err := os.Readlink(descriptorPath(fd))
	if err != nil || !path.IsAbs(at) {
		return -1, "", false
	}
	dir, err := unix.Open(path.Dir(at), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", false
	}
	var held, named unix.Stat_t
	name := path.Base(at)
	if unix.Fstat(fd, &held) != nil || unix.Fstatat(dir, name, &named, unix.AT_SYMLINK_NOFOLLOW) != nil ||
		inodeOf(&held) != inodeOf(&named) {
		_ = unix.Close(dir)
		return -1, "", false
	}
	return dir, name, true
}

// retryLock is how often a lock that another process has is asked for again.
const retryLock = 50 * time.Millisecond

// failing is failure of what may have succeeded.
func failing(call, subject string, err error) error {
	if err == nil {
		return nil
	}
	return failure(call, subject, err)
}
