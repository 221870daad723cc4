package executor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// calls is what the filter knows of one architecture's system calls, by their numbers.
type calls struct {
	arch   uint32 // AUDIT_ARCH_*
	x32    uint32 // the bit that marks the x32 variant, which is not offered, or 0
	denied []uint32

	clone, clone3, unshare, personality, socket uint32
}

// namespaceFlags are those of clone and unshare that need no capability in a user namespace of one's own.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID |
	unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP

// Offsets in struct seccomp_data; both architectures are little-endian, so a low half comes first.
const (
	dataCall = 0
	dataArch = 4
	dataArg0 = 16
)

// filterCalls takes from this thread the system calls that a container has no use for and an attacker has: whatever makes
// mounts and namespaces, loads code into the kernel, or reaches what namespaces do not cover (keys, the clock). The list has
// the effect of Docker's default profile. ptrace stays: since Linux 4.8 it cannot go round a filter.
func filterCalls() error {
	program := filterProgram(callTables())
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return failure("install seccomp filter", "", errno)
	}
	return nil
}

func filterProgram(tables []calls) []unix.SockFilter {
	program := []unix.SockFilter{load(dataArch)}
	for _, t := range tables {
		block := t.block()
		program = append(program, unless(t.arch, len(block)))
		program = append(program, block...)
	}
	return append(program, refuse(unix.EPERM)) // an architecture that nobody has named
}

// block decides for one architecture.
func (t calls) block() []unix.SockFilter {
	block := []unix.SockFilter{load(dataCall)}
	if t.x32 != 0 {
		block = append(block, unlessSet(t.x32, 1), refuse(unix.ENOSYS))
	}
	// The C library does without clone3, whose flags lie in memory that a filter cannot read.
	block = append(block, unless(t.clone3, 1), refuse(unix.ENOSYS))
	for _, call := range t.denied {
		block = append(block, unless(call, 1), refuse(unix.EPERM))
	}
	for _, call := range []uint32{t.clone, t.unshare} {
		block = append(block, unless(call, 4), load(dataArg0), unlessSet(namespaceFlags, 1), refuse(unix.EPERM), allow())
	}
	block = append(block, unless(t.socket, 4), load(dataArg0), unless(unix.AF_VSOCK, 1), refuse(unix.EPERM), allow())
	// Linux, Linux32, either with old uname, and the question which it is.
	domains := []uint32{0, 0x8, 0x20000, 0x20008, 0xffffffff}
	block = append(block, unless(t.personality, 2*len(domains)+2), load(dataArg0))
	for _, domain := range domains {
		block = append(block, unless(domain, 1), allow())
	}
	return append(block, refuse(unix.EPERM), allow())
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// unless skips instructions unless the loaded value is k.
func unless(k uint32, skip int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: offset8(skip)}
}

// unlessSet skips instructions unless the loaded value has one of the bits.
func unlessSet(bits uint32, skip int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: bits, Jf: offset8(skip)}
}

func offset8(n int) uint8 {
	if n > 255 {
		panic("executor: a filter's block is longer than a conditional jump")
	}
	return uint8(n)
}

func refuse(errno unix.Errno) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)}
}

func allow() unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
}

// deniedEverywhere are refused calls that every architecture has under the name that package unix gives its own.
func deniedEverywhere() []uint32 {
	return []uint32{
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_OPEN_TREE, unix.SYS_OPEN_TREE_ATTR, unix.SYS_MOVE_MOUNT,
		unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_SETNS,
		unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_FANOTIFY_INIT, unix.SYS_LOOKUP_DCOOKIE,
		unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
		unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
		unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD, unix.SYS_PROCESS_MADVISE, unix.SYS_MOVE_PAGES,
		unix.SYS_MIGRATE_PAGES, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL,
		unix.SYS_QUOTACTL_FD, unix.SYS_NFSSERVCTL, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME,
		unix.SYS_SYSLOG, unix.SYS_VHANGUP, unix.SYS_SETDOMAINNAME,
	}
}
