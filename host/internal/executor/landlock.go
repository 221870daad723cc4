package executor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// landlockScopes is the first Landlock version that can keep signals and abstract sockets inside (Linux 6.12).
const landlockScopes = 6

// scope keeps the step from signalling processes outside it and from talking to their abstract sockets, which belong to the
// network namespace that it may share with the machine (CVE-2020-15257). An older kernel has no such means: signals are
// then held back by the PID namespace alone.
func scope() error {
	version, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || version < landlockScopes {
		return nil // not built in, not enabled, refused by a filter outside, or too old
	}
	attr := unix.LandlockRulesetAttr{Scoped: unix.LANDLOCK_SCOPE_SIGNAL | unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET}
	fd, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return failure("make Landlock rules", "", errno)
	}
	_, _, errno = unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0)
	if err := unix.Close(int(fd)); err != nil {
		return failure("close Landlock rules", "", err)
	}
	if errno != 0 {
		return failure("apply Landlock rules", "", errno)
	}
	return nil
}
