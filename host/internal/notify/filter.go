package notify

import (
	"errors"
	"fmt"
	"io"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rule names a system call to stop, and which of its uses.
type Rule struct {
	Call uint32
	When Condition
	// Argument is the one that the condition looks at; Flags the one with AT_ flags, 0 for none.
	Argument, Flags int
	Bits            uint32 // for WhenSet
}

// Condition says which uses of a call are stopped.
type Condition string

// The conditions. The filter sees arguments, not what they point to.
const (
	Always Condition = "always"
	// WhenDirectory takes relative paths from the working directory or from a descriptor of at least [HighDescriptor];
	// those from other descriptors, and from none by AT_EMPTY_PATH, are let go.
	WhenDirectory Condition = "directory"
	WhenHigh      Condition = "high"    // a descriptor of at least HighDescriptor
	WhenSet       Condition = "set"     // one of Bits is set
	WhenNotNull   Condition = "notnull" // a pointer, unless AT_SYMLINK_NOFOLLOW is in Flags
)

// HighDescriptor is the first of the numbers that the supervisor gives to descriptors which it wants to see again. Most
// processes may have 1024.
const HighDescriptor = 900

// Offsets in struct seccomp_data on a little-endian machine.
const (
	dataCall = 0
	dataArch = 4
	dataArgs = 16
)

// Program is the filter: every call of another architecture than arch is stopped too, for the listener to refuse.
func Program(arch uint32, rules []Rule) []unix.SockFilter {
	program := []unix.SockFilter{
		load(dataArch),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: arch, Jt: 1},
		result(unix.SECCOMP_RET_USER_NOTIF), load(dataCall),
	}
	for _, r := range rules {
		block := r.block()
		program = append(program, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: r.Call, Jf: uint8(len(block))})
		program = append(program, block...)
	}
	return append(program, result(unix.SECCOMP_RET_ALLOW))
}

// block decides about one call, and always returns.
func (r Rule) block() []unix.SockFilter {
	stop, pass := result(unix.SECCOMP_RET_USER_NOTIF), result(unix.SECCOMP_RET_ALLOW)
	argument := load(dataArgs + 8*uint32(r.Argument))
	switch r.When {
	case WhenHigh:
		return []unix.SockFilter{argument, jump(unix.BPF_JGE, HighDescriptor, 0, 1), stop, pass}
	case WhenSet:
		return []unix.SockFilter{argument, jump(unix.BPF_JSET, r.Bits, 0, 1), stop, pass}
	case WhenNotNull:
		return []unix.SockFilter{
			load(dataArgs + 8*uint32(r.Flags)), jump(unix.BPF_JSET, unix.AT_SYMLINK_NOFOLLOW, 0, 1), pass,
			argument, jump(unix.BPF_JEQ, 0, 0, 2), load(dataArgs + 8*uint32(r.Argument) + 4), jump(unix.BPF_JEQ, 0, 1, 0), stop, pass,
		}
	case WhenDirectory:
		var block []unix.SockFilter
		if r.Flags != 0 {
			block = append(block, load(dataArgs+8*uint32(r.Flags)), jump(unix.BPF_JSET, unix.AT_EMPTY_PATH, 0, 1), pass)
		}
		// Seen unsigned, AT_FDCWD and what else is negative is high too.
		return append(block, argument, jump(unix.BPF_JGE, HighDescriptor, 0, 1), stop, pass)
	}
	return []unix.SockFilter{stop}
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(how uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | how | unix.BPF_K, K: k, Jt: yes, Jf: no}
}

func result(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

// Install puts a filter on this thread and gives the descriptor of its listener, which is closed at execve. The thread must
// have no_new_privs or CAP_SYS_ADMIN. From Linux 5.19 on a request that was received is not interrupted by signals that do
// not kill; before, a caller with handlers sees EINTR more often.
func Install(program []unix.SockFilter) (listener int, err error) {
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
	for _, extra := range []uintptr{unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, 0} {
		fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags|extra, uintptr(unsafe.Pointer(&fprog)))
		switch {
		case errno == 0:
			return int(fd), nil
		case errno == unix.EBUSY:
			return -1, fmt.Errorf("install seccomp filter: another supervisor listens already: %w", errno)
		case errno != unix.EINVAL || extra == 0:
			return -1, fmt.Errorf("install seccomp filter: %w", errno)
		}
	}
	panic("notify: unreachable")
}

// Send passes a descriptor through a socket.
func Send(socket, fd int) error {
	if err := unix.Sendmsg(socket, []byte{1}, unix.UnixRights(fd), nil, 0); err != nil {
		return fmt.Errorf("send descriptor: %w", err)
	}
	return nil
}

// Receive takes a descriptor that was passed by Send. It is closed at execve. io.EOF says that the sender is gone.
func Receive(socket int) (int, error) {
	payload, control := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, oobn, err := 0, 0, error(unix.EINTR)
	for errors.Is(err, unix.EINTR) {
		n, oobn, _, _, err = unix.Recvmsg(socket, payload, control, unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil {
		return -1, fmt.Errorf("receive descriptor: %w", err)
	}
	if n == 0 {
		return -1, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(control[:oobn])
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("receive descriptor: got %d messages: %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("receive descriptor: got %d: %w", len(fds), err)
	}
	return fds[0], nil
}
