package identity

import (
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

const architecture = unix.AUDIT_ARCH_X86_64

// flagsArgument says which argument has the flags of a call that is stopped only where it may make a file.
func flagsArgument(nr uint32) (int, bool) {
	switch nr {
	case unix.SYS_OPEN:
		return 1, true
	case unix.SYS_OPENAT:
		return 2, true
	}
	return 0, false
}

// ownStatCalls are those of statCalls that each architecture has its own names for.
func ownStatCalls() map[uint32]call {
	at := func(flags uint64) call {
		return func(s *Server, r *notify.Request) outcome {
			return s.stat(r, unix.AT_FDCWD, r.Args[0], flags, r.Args[1])
		}
	}
	return map[uint32]call{
		unix.SYS_STAT: at(0), unix.SYS_LSTAT: at(unix.AT_SYMLINK_NOFOLLOW),
		unix.SYS_NEWFSTATAT: func(s *Server, r *notify.Request) outcome {
			return s.stat(r, int32(r.Args[0]), r.Args[1], r.Args[3], r.Args[2])
		},
	}
}

// ownCalls are those that newer architectures do without.
func ownCalls() map[uint32]call {
	chown := func(flags uint64) call {
		return func(s *Server, r *notify.Request) outcome {
			return s.chown(r, unix.AT_FDCWD, r.Args[0], owner(r, 1), flags)
		}
	}
	return map[uint32]call{
		unix.SYS_CHOWN: chown(0), unix.SYS_LCHOWN: chown(unix.AT_SYMLINK_NOFOLLOW),
		unix.SYS_MKDIR: func(s *Server, r *notify.Request) outcome { return s.mkdir(r, unix.AT_FDCWD, r.Args[0], r.Args[1]) },
		unix.SYS_MKNOD: func(s *Server, r *notify.Request) outcome {
			return s.mknod(r, unix.AT_FDCWD, r.Args[0], r.Args[1], r.Args[2])
		},
		unix.SYS_SYMLINK: func(s *Server, r *notify.Request) outcome {
			return s.symlink(r, r.Args[0], unix.AT_FDCWD, r.Args[1])
		},
		unix.SYS_OPEN: func(s *Server, r *notify.Request) outcome {
			return s.openFile(r, unix.AT_FDCWD, r.Args[0], r.Args[1], r.Args[2])
		},
		unix.SYS_CREAT: func(s *Server, r *notify.Request) outcome {
			return s.openFile(r, unix.AT_FDCWD, r.Args[0], unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, r.Args[1])
		},
	}
}
