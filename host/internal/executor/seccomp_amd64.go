package executor

import "golang.org/x/sys/unix"

// callTables lists amd64, without x32, and i386, whose programs run on the same kernel. The numbers of i386 are those of
// the kernel's syscall_32.tbl.
func callTables() []calls {
	amd64 := calls{
		arch: unix.AUDIT_ARCH_X86_64, x32: 0x40000000,
		clone: unix.SYS_CLONE, clone3: unix.SYS_CLONE3, unshare: unix.SYS_UNSHARE, personality: unix.SYS_PERSONALITY,
		socket: unix.SYS_SOCKET,
		denied: append(deniedEverywhere(), unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_CREATE_MODULE, unix.SYS_GET_KERNEL_SYMS,
			unix.SYS_QUERY_MODULE, unix.SYS_USELIB, unix.SYS_SYSFS, unix.SYS__SYSCTL, unix.SYS_USTAT),
	}
	i386 := calls{
		arch:  unix.AUDIT_ARCH_I386,
		clone: 120, clone3: 435, unshare: 310, personality: 136, socket: 359,
		denied: []uint32{
			21, 22, 52, 217, 428, 467, 429, // mount, umount, umount2, pivot_root, open_tree, open_tree_attr, move_mount
			430, 431, 432, 433, 442, 346, // fsopen, fsconfig, fsmount, fspick, mount_setattr, setns
			288, 286, 287, // keyctl, add_key, request_key
			357, 336, 374, 338, 253, // bpf, perf_event_open, userfaultfd, fanotify_init, lookup_dcookie
			425, 426, 427, // io_uring_setup, io_uring_enter, io_uring_register
			283, 127, 128, 350, 129, 130, 167, // kexec_load, {create,init,finit,delete}_module, get_kernel_syms, query_module
			342, 349, 438, 440, 317, // open_by_handle_at, kcmp, pidfd_getfd, process_madvise, move_pages
			294, 88, 87, 115, 51, 131, // migrate_pages, reboot, swapon, swapoff, acct, quotactl
			443, 169, 79, 25, 264, 404, 343, 405, // quotactl_fd, nfsservctl, settimeofday, stime, clock_settime, -64, clock_adjtime, -64
			103, 111, 121, // syslog, vhangup, setdomainname
			110, 101, 86, 135, 149, 62, 166, 113, // iopl, ioperm, uselib, sysfs, _sysctl, ustat, vm86, vm86old
		},
	}
	return []calls{amd64, i386}
}
