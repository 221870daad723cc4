package identity

import (
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

const architecture = unix.AUDIT_ARCH_AARCH64

// flagsArgument says which argument has the flags of a call that is stopped only where it may make a file.
func flagsArgument(nr uint32) (int, bool) {
	if nr == unix.SYS_OPENAT {
		return 2, true
	}
	return 0, false
}

// ownStatCalls are those of statCalls that each architecture has its own names for.
func ownStatCalls() map[uint32]call {
	return map[uint32]call{
		unix.SYS_FSTATAT: func(s *Server, r *notify.Request) outcome {
			return s.stat(r, int32(r.Args[0]), r.Args[1], r.Args[3], r.Args[2])
		},
	}
}

// ownCalls are those that newer architectures do without: there are none.
func ownCalls() map[uint32]call { return nil }
