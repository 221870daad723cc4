package identity

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

// Who is root makes files that are root's, as the kernel does. What another user makes is made here, and recorded as that
// user's.

// maker makes a file below an open directory.
type maker func(dir int, name string) error

// create is mkdir(2), mknod(2) and symlink(2).
func (s *Server) create(r *notify.Request, dirfd int32, address uint64, do maker) outcome {
	ids, err := s.people.of(r.TID)
	if err != nil {
		return fail(err)
	}
	if ids.uid.fs == 0 && ids.gid.fs == 0 {
		return outcome{pass: true}
	}
	path, err := s.readPath(r, address)
	if err != nil {
		return fail(err)
	}
	dir, name, err := s.parent(r, dirfd, path)
	if errors.Is(err, errMagic) {
		return outcome{pass: true}
	}
	if err != nil {
		return fail(err)
	}
	defer closeFD(dir)
	mask, err := s.people.umask(r.TID)
	if err != nil {
		return fail(err)
	}
	unix.Umask(int(mask))
	if err := do(dir, name); err != nil {
		return fail(err)
	}
	fd, err := unix.Openat(dir, strings.TrimRight(name, "/"), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	defer closeFD(fd)
	if err := s.record(fd, s.ownerIn(dir, ids)); err != nil {
		return fail(err)
	}
	return outcome{}
}

// parent opens the directory in which a path's last name lies.
func (s *Server) parent(r *notify.Request, dirfd int32, path string) (int, string, error) {
	bare := strings.TrimRight(path, "/")
	if bare == "" {
		return -1, "", map[bool]error{true: unix.ENOENT, false: unix.EEXIST}[path == ""]
	}
	dir, name := ".", path
	if i := strings.LastIndexByte(bare, '/'); i >= 0 {
		dir, name = path[:i+1], path[i+1:]
	}
	fd, err := s.open(r, dirfd, dir, 0)
	return fd, name, err
}

// ownerIn is who owns what a process makes in a directory: the directory's group, where its mode says so.
func (s *Server) ownerIn(dir int, ids identities) Owner {
	o := Owner{ids.uid.fs, ids.gid.fs}
	var st unix.Stat_t
	if unix.Fstat(dir, &st) == nil && st.Mode&unix.S_ISGID != 0 {
		if of := s.recorded(dir); of.GID != Unrecorded {
			o.GID = of.GID
		}
	}
	return o
}

// openFile is open(2) with O_CREAT. A file that is there is for the kernel to open.
func (s *Server) openFile(r *notify.Request, dirfd int32, address, flags, mode uint64) outcome {
	file := -1
	out := s.create(r, dirfd, address, func(dir int, name string) error {
		if strings.HasSuffix(name, "/") {
			return unix.EISDIR
		}
		var err error
		file, err = unix.Openat(dir, name, int(flags)|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOCTTY, uint32(mode&0o7777))
		return err
	})
	switch {
	case file < 0 && out.errno == unix.EEXIST && flags&unix.O_EXCL == 0:
		return outcome{pass: true}
	case file < 0:
		return out
	case out.errno != 0:
		_ = unix.Close(file)
		return out
	}
	return outcome{file: &opened{file, flags&unix.O_CLOEXEC != 0}}
}
