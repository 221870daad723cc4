package executor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls here act on this thread alone, which is all that execve keeps. Package syscall's act on every thread, by
// signals that need time and would meet threads that no longer may.

func rawSetres(call uintptr, id uint32) error {
	if _, _, errno := unix.RawSyscall(call, uintptr(id), uintptr(id), uintptr(id)); errno != 0 {
		return errno
	}
	return nil
}

func setgroups(groups []uint32) error {
	var first unsafe.Pointer
	if len(groups) > 0 {
		first = unsafe.Pointer(&groups[0])
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0); errno != 0 {
		return errno
	}
	return nil
}
