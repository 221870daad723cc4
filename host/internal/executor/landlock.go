package executor

import (
	"errors"
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

// Landlock's rights on files, by the version that brought them.
const (
	landlockFiles   = 1<<13 - 1                         // version 1
	landlockRefer   = unix.LANDLOCK_ACCESS_FS_REFER     // version 2: to link and rename across directories
	landlockShorten = unix.LANDLOCK_ACCESS_FS_TRUNCATE  // version 3
	landlockIoctl   = unix.LANDLOCK_ACCESS_FS_IOCTL_DEV // version 5
)

// restrictToRoot is scope with files: all is allowed below the root directory and nothing elsewhere. It does not hold back
// what only looks at files or changes their attributes; nor does it exist everywhere: version 1 would forbid to rename
// across directories. It is there in case that a process gets hold of something outside.
func restrictToRoot() error {
	version, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || version < 2 {
		return nil // not built in, not enabled, refused by a filter outside, or too old
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: landlockFiles | landlockRefer}
	if version >= 3 {
		attr.Handled_access_fs |= landlockShorten
	}
	if version >= 5 {
		attr.Handled_access_fs |= landlockIoctl
	}
	if version >= landlockScopes {
		attr.Scoped = unix.LANDLOCK_SCOPE_SIGNAL | unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	}
	rules, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return failure("make Landlock rules", "", errno)
	}
	root, err := openDirectory("/")
	if err != nil {
		return err
	}
	below := unix.LandlockPathBeneathAttr{Allowed_access: attr.Handled_access_fs, Parent_fd: int32(root)}
	_, _, errno = unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, rules, unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&below)), 0, 0, 0)
	if errno == 0 {
		_, _, errno = unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0)
	}
	if err := errors.Join(unix.Close(root), unix.Close(int(rules))); err != nil {
		return failure("close Landlock rules", "", err)
	}
	if errno != 0 {
		return failure("apply Landlock rules", "", errno)
	}
	return nil
}
