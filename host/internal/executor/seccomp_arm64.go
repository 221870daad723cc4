package executor

import "golang.org/x/sys/unix"

// callTables lists arm64 and 32-bit ARM, whose programs many of its machines run. The numbers of 32-bit ARM are those of
// the kernel's syscall.tbl for it.
func callTables() []calls {
	arm64 := calls{
		arch:  unix.AUDIT_ARCH_AARCH64,
		clone: unix.SYS_CLONE, clone3: unix.SYS_CLONE3, unshare: unix.SYS_UNSHARE, personality: unix.SYS_PERSONALITY,
		socket: unix.SYS_SOCKET,
		denied: deniedEverywhere(),
	}
	arm := calls{
		arch:  unix.AUDIT_ARCH_ARM,
		clone: 120, clone3: 435, unshare: 337, personality: 136, socket: 281,
		denied: []uint32{
			21, 52, 218, 428, 467, 429, // mount, umount2, pivot_root, open_tree, open_tree_attr, move_mount
			430, 431, 432, 433, 442, 375, // fsopen, fsconfig, fsmount, fspick, mount_setattr, setns
			311, 309, 310, // keyctl, add_key, request_key
			386, 364, 388, 367, 249, // bpf, perf_event_open, userfaultfd, fanotify_init, lookup_dcookie
			425, 426, 427, // io_uring_setup, io_uring_enter, io_uring_register
			347, 401, 128, 379, 129, // kexec_load, kexec_file_load, {init,finit,delete}_module
			371, 378, 438, 440, 344, // open_by_handle_at, kcmp, pidfd_getfd, process_madvise, move_pages
			400, 88, 87, 115, 51, 131, // migrate_pages, reboot, swapon, swapoff, acct, quotactl
			443, 169, 79, 262, 404, 372, 405, // quotactl_fd, nfsservctl, settimeofday, clock_settime, -64, clock_adjtime, -64
			103, 111, 121, // syslog, vhangup, setdomainname
			86, 135, 149, 62, // uselib, sysfs, _sysctl, ustat
		},
	}
	return []calls{arm64, arm}
}
