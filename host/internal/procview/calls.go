//go:build amd64

package procview

import (
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

// call says what a stopped system call's arguments mean; an argument's place is one more than its index, 0 for none.
type call struct {
	path, dir int
	answer    func(w *worker, r *notify.Request, at place)
	// pass is done with a path that does not lead into /proc, before the call goes on.
	pass func(w *worker, r *notify.Request, path []byte)
	// follows says whether a link at the path's end is followed.
	follows func(r *notify.Request) bool
}

func always(*notify.Request) bool { return true }
func never(*notify.Request) bool  { return false }

// unlessFlag follows unless a flag in the argument at index i is set.
func unlessFlag(i int, flag uint64) func(*notify.Request) bool {
	return func(r *notify.Request) bool { return r.Args[i]&flag == 0 }
}

const (
	noFollow     = unix.AT_SYMLINK_NOFOLLOW
	openNoFollow = unix.O_NOFOLLOW
)

// calls are those that are stopped because of a path.
func calls() map[uint32]call {
	stat := func(path, dir int, follows func(*notify.Request) bool) call {
		return call{path: path, dir: dir, answer: (*worker).stat, follows: follows}
	}
	table := map[uint32]call{
		unix.SYS_OPEN:    {path: 1, answer: (*worker).openOld, follows: unlessFlag(1, openNoFollow)},
		unix.SYS_CREAT:   {path: 1, answer: (*worker).create, follows: always},
		unix.SYS_OPENAT:  {path: 2, dir: 1, answer: (*worker).openAt, follows: unlessFlag(2, openNoFollow)},
		unix.SYS_OPENAT2: {path: 2, dir: 1, answer: (*worker).openAt2, follows: always},

		unix.SYS_STAT:       stat(1, 0, always),
		unix.SYS_LSTAT:      stat(1, 0, never),
		unix.SYS_NEWFSTATAT: stat(2, 1, unlessFlag(3, noFollow)),
		unix.SYS_STATX:      {path: 2, dir: 1, answer: (*worker).statx, follows: unlessFlag(2, noFollow)},
		unix.SYS_STATFS:     {path: 1, answer: (*worker).statfs, follows: always},
		unix.SYS_ACCESS:     {path: 1, answer: (*worker).access, follows: always},
		unix.SYS_FACCESSAT:  {path: 2, dir: 1, answer: (*worker).access, follows: always},
		unix.SYS_FACCESSAT2: {path: 2, dir: 1, answer: (*worker).access, follows: unlessFlag(3, noFollow)},
		unix.SYS_READLINK:   {path: 1, answer: (*worker).readlink, follows: never},
		unix.SYS_READLINKAT: {path: 2, dir: 1, answer: (*worker).readlink, follows: never},

		unix.SYS_CHDIR:     {path: 1, answer: (*worker).chdir, follows: always},
		unix.SYS_CHMOD:     {path: 1, answer: (*worker).chmod, follows: always},
		unix.SYS_FCHMODAT:  {path: 2, dir: 1, answer: (*worker).chmod, follows: always},
		unix.SYS_FCHMODAT2: {path: 2, dir: 1, answer: (*worker).chmod, follows: unlessFlag(3, noFollow)},
		unix.SYS_UTIMENSAT: {path: 2, dir: 1, answer: (*worker).utimes, follows: unlessFlag(3, noFollow)},
		unix.SYS_LINKAT:    {path: 2, dir: 1, answer: (*worker).link, follows: always},
		unix.SYS_SYMLINK:   {path: 2, answer: (*worker).refuseLink, pass: (*worker).noteLink, follows: never},
		unix.SYS_SYMLINKAT: {path: 3, dir: 2, answer: (*worker).refuseLink, pass: (*worker).noteLink, follows: never},

		unix.SYS_EXECVE:   {path: 1, answer: (*worker).exec, pass: (*worker).passExec, follows: always},
		unix.SYS_EXECVEAT: {path: 2, dir: 1, answer: (*worker).exec, pass: (*worker).passExec, follows: always},
	}
	for _, nr := range attributeCalls() {
		table[nr] = call{path: 1, answer: (*worker).refuseAttributes, follows: always}
	}
	return table
}

// attributeCalls are those on extended attributes, which nothing in /proc has.
func attributeCalls() []uint32 {
	return []uint32{
		unix.SYS_GETXATTR, unix.SYS_LGETXATTR, unix.SYS_LISTXATTR, unix.SYS_LLISTXATTR,
		unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR,
	}
}

// Program is the filter that stops the calls which [Serve] answers.
func Program() []unix.SockFilter {
	flags := map[uint32]int{unix.SYS_NEWFSTATAT: 3, unix.SYS_STATX: 2, unix.SYS_FACCESSAT2: 3, unix.SYS_FCHMODAT2: 3, unix.SYS_EXECVEAT: 4}
	special := map[uint32]notify.Rule{
		unix.SYS_LINKAT:    {When: notify.WhenSet, Argument: 4, Bits: unix.AT_SYMLINK_FOLLOW},
		unix.SYS_UTIMENSAT: {When: notify.WhenNotNull, Argument: 1, Flags: 3},
	}
	rules := []notify.Rule{
		{Call: unix.SYS_FCHDIR, When: notify.WhenHigh}, {Call: unix.SYS_DUP, When: notify.WhenHigh}, {Call: unix.SYS_FCNTL, When: notify.WhenHigh},
	}
	for _, nr := range frequency() {
		c := calls()[nr]
		rule, ok := special[nr]
		switch {
		case ok:
		case c.dir != 0:
			rule = notify.Rule{When: notify.WhenDirectory, Argument: c.dir - 1, Flags: flags[nr]}
		default:
			rule.When = notify.Always
		}
		rule.Call = nr
		rules = append(rules, rule)
	}
	return notify.Program(unix.AUDIT_ARCH_X86_64, rules)
}

// frequency lists the stopped calls, those first that programs make most: a filter is read from its start.
func frequency() []uint32 {
	return append([]uint32{
		unix.SYS_OPENAT, unix.SYS_NEWFSTATAT, unix.SYS_ACCESS, unix.SYS_READLINK, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_EXECVE,
		unix.SYS_STATX, unix.SYS_OPEN, unix.SYS_CHDIR, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_READLINKAT,
		unix.SYS_CHMOD, unix.SYS_FCHMODAT, unix.SYS_UTIMENSAT, unix.SYS_SYMLINK, unix.SYS_SYMLINKAT, unix.SYS_LINKAT,
		unix.SYS_STATFS, unix.SYS_CREAT, unix.SYS_OPENAT2, unix.SYS_FCHMODAT2, unix.SYS_EXECVEAT,
	}, attributeCalls()...)
}
