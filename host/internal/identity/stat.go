package identity

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

// statCalls tell what a file is, and whose.
func statCalls() map[uint32]call {
	all := map[uint32]call{
		unix.SYS_FSTAT: func(s *Server, r *notify.Request) outcome {
			return s.stat(r, int32(r.Args[0]), 0, unix.AT_EMPTY_PATH, r.Args[1])
		},
		unix.SYS_STATX: (*Server).statx,
	}
	for nr, c := range ownStatCalls() {
		all[nr] = c
	}
	return all
}

// named opens what a call asks about, and says whose it is. A file of which nothing is recorded is for the kernel to tell of.
func (s *Server) named(r *notify.Request, dirfd int32, address, flags uint64) (fd int, o Owner, out *outcome) {
	path := ""
	if address != 0 {
		var err error
		if path, err = s.readPath(r, address); err != nil {
			x := fail(err)
			return -1, o, &x
		}
	}
	fd, err := s.open(r, dirfd, path, flags)
	if err != nil {
		return -1, o, &outcome{pass: true} // and the kernel to say what is wrong
	}
	o = s.recorded(fd)
	if o == (Owner{Unrecorded, Unrecorded}) {
		_ = unix.Close(fd)
		return -1, o, &outcome{pass: true}
	}
	return fd, o, nil
}

// stat is stat(2) and what is like it.
func (s *Server) stat(r *notify.Request, dirfd int32, address, flags, into uint64) outcome {
	fd, o, out := s.named(r, dirfd, address, flags)
	if out != nil {
		return *out
	}
	var st unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &st), unix.Close(fd)); err != nil {
		return fail(err)
	}
	owner := o.over(Owner{st.Uid, st.Gid})
	st.Uid, st.Gid = owner.UID, owner.GID
	return s.write(r, into, unsafe.Slice((*byte)(unsafe.Pointer(&st)), unsafe.Sizeof(st)))
}

func (s *Server) statx(r *notify.Request) outcome {
	fd, o, out := s.named(r, int32(r.Args[0]), r.Args[1], r.Args[2])
	if out != nil {
		return *out
	}
	var st unix.Statx_t
	flags := int(r.Args[2])&(unix.AT_STATX_FORCE_SYNC|unix.AT_STATX_DONT_SYNC) | unix.AT_EMPTY_PATH
	if err := errors.Join(unix.Statx(fd, "", flags, int(r.Args[3]), &st), unix.Close(fd)); err != nil {
		return fail(err)
	}
	owner := o.over(Owner{st.Uid, st.Gid})
	st.Uid, st.Gid = owner.UID, owner.GID
	return s.write(r, r.Args[4], unsafe.Slice((*byte)(unsafe.Pointer(&st)), unsafe.Sizeof(st)))
}

func (s *Server) write(r *notify.Request, address uint64, b []byte) outcome {
	if err := s.writeMemory(r, address, b); err != nil {
		return fail(err)
	}
	return outcome{}
}
