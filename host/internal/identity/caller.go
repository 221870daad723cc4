package identity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

// readPath copies a path out of the caller's memory. Only the copy is used.
func (s *Server) readPath(r *notify.Request, address uint64) (string, error) {
	mem, err := s.openOf(r, "mem", unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer closeFD(mem)
	const page = 4096
	var path []byte
	for len(path) < unix.PathMax {
		// Not across pages: the next one may not be there.
		part := make([]byte, page-int(address%page))
		n, err := unix.Pread(mem, part, int64(address))
		if err != nil || n <= 0 {
			return "", unix.EFAULT
		}
		if end := bytes.IndexByte(part[:n], 0); end >= 0 {
			return string(append(path, part[:end]...)), s.still(r)
		}
		path, address = append(path, part[:n]...), address+uint64(n)
	}
	return "", unix.ENAMETOOLONG
}

// readIDs copies n IDs out of the caller's memory.
func (s *Server) readIDs(r *notify.Request, address uint64, n int) ([]uint32, error) {
	mem, err := s.openOf(r, "mem", unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer closeFD(mem)
	buf := make([]byte, 4*n)
	if got, err := unix.Pread(mem, buf, int64(address)); n > 0 && (err != nil || got < len(buf)) {
		return nil, unix.EFAULT
	}
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = binary.NativeEndian.Uint32(buf[4*i:])
	}
	return ids, s.still(r)
}

// writeIDs puts IDs into the caller's memory.
func (s *Server) writeIDs(r *notify.Request, address uint64, ids ...uint32) error {
	var buf []byte
	for _, id := range ids {
		buf = binary.NativeEndian.AppendUint32(buf, id)
	}
	return s.writeMemory(r, address, buf)
}

// writeMemory puts bytes into the caller's memory.
func (s *Server) writeMemory(r *notify.Request, address uint64, buf []byte) error {
	mem, err := s.openOf(r, "mem", unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer closeFD(mem)
	if err := s.still(r); err != nil { // what was opened is the caller's
		return err
	}
	if n, err := unix.Pwrite(mem, buf, int64(address)); err != nil || n < len(buf) {
		return unix.EFAULT
	}
	return nil
}

// openOf opens something of the caller's in /proc.
func (s *Server) openOf(r *notify.Request, name string, flags int) (int, error) {
	return unix.Openat(int(s.proc.Fd()), fmt.Sprintf("%d/%s", r.TID, name), flags|unix.O_CLOEXEC, 0)
}

// still makes sure that what was read by the caller's number was the caller's.
func (s *Server) still(r *notify.Request) error {
	if !s.listener.Valid(r) {
		return unix.ESRCH
	}
	return nil
}

// standWhere gives this thread the caller's root and working directory, and returns where a path with this descriptor starts.
func (s *Server) standWhere(r *notify.Request, dirfd int32) (int, error) {
	root, err := s.openOf(r, "root", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	defer closeFD(root)
	name := "cwd"
	if dirfd != unix.AT_FDCWD {
		name = fmt.Sprintf("fd/%d", dirfd)
	}
	start, err := s.openOf(r, name, unix.O_PATH)
	if errors.Is(err, unix.ENOENT) {
		err = unix.EBADF
	}
	if err == nil {
		err = s.still(r)
	}
	if err == nil {
		err = unix.Fchdir(root)
	}
	if err == nil {
		err = unix.Chroot(".")
	}
	if err != nil && start >= 0 {
		err = errors.Join(err, unix.Close(start))
	}
	return start, err
}

// errMagic says that a path leads through one of /proc's links to open files. They are another process's here.
var errMagic = errors.New("the path leads through /proc")

// open opens what a path of the caller's names, for nothing but to be named.
func (s *Server) open(r *notify.Request, dirfd int32, path string, flags uint64) (int, error) {
	start, err := s.standWhere(r, dirfd)
	if err != nil {
		return -1, err
	}
	if path == "" {
		if flags&unix.AT_EMPTY_PATH == 0 {
			err = unix.ENOENT
		}
		if err == nil {
			return start, nil
		}
		return -1, errors.Join(err, unix.Close(start))
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	if flags&unix.AT_SYMLINK_NOFOLLOW != 0 {
		how.Flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Openat2(start, path, &how)
	if errors.Is(err, unix.ELOOP) {
		err = errMagic // or a circle of links, which the kernel may tell
	}
	return fd, errors.Join(err, unix.Close(start))
}

// ownName is a name of an open file of ours by which paths can be given to calls that take no descriptor. It is relative to
// the directory that this thread changes to.
func (s *Server) ownName(fd int) (string, error) {
	return fmt.Sprintf("thread-self/fd/%d", fd), unix.Fchdir(int(s.proc.Fd()))
}

// pathOf is where an open file lies, from the step's root on; "" for what lies nowhere, as a pipe.
func (s *Server) pathOf(fd int) (string, error) {
	name, err := s.ownName(fd)
	if err != nil {
		return "", err
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink(name, buf)
	if err != nil {
		return "", err
	}
	if buf[0] != '/' {
		return "", nil
	}
	return string(bytes.TrimLeft(buf[:n], "/")), nil
}

// closeFD closes what was opened to look at or to act on: nothing was written through it.
func closeFD(fd int) { _ = unix.Close(fd) }
