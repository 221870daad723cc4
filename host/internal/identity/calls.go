package identity

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

// call answers a system call.
type call func(*Server, *notify.Request) outcome

// Program is the filter that stops the calls which [Server] answers for a step that starts as a user. Who asks for the owners
// of files is told the truth only where the step is not root's from the start: it costs, and what root does seldom depends on
// them.
func Program(u User) []unix.SockFilter {
	answered := calls()
	if !of(u).root() {
		maps.Copy(answered, statCalls())
	}
	var rules []notify.Rule
	for _, nr := range slices.Sorted(maps.Keys(answered)) {
		rule := notify.Rule{Call: nr, When: notify.Always}
		if at, ok := flagsArgument(nr); ok {
			rule = notify.Rule{Call: nr, When: notify.WhenSet, Argument: at, Bits: unix.O_CREAT}
		}
		if nr == unix.SYS_PRCTL {
			rule = notify.Rule{Call: nr, When: notify.WhenSet, Bits: unix.PR_SET_KEEPCAPS}
		}
		rules = append(rules, rule)
	}
	return notify.Program(architecture, rules)
}

// calls are those that every architecture has, and those of this one.
func calls() map[uint32]call {
	all := map[uint32]call{
		unix.SYS_FCHOWN: func(s *Server, r *notify.Request) outcome {
			return s.chown(r, int32(r.Args[0]), 0, owner(r, 1), unix.AT_EMPTY_PATH)
		},
		unix.SYS_FCHOWNAT: func(s *Server, r *notify.Request) outcome {
			return s.chown(r, int32(r.Args[0]), r.Args[1], owner(r, 2), r.Args[4])
		},
		unix.SYS_MKDIRAT: func(s *Server, r *notify.Request) outcome { return s.mkdir(r, int32(r.Args[0]), r.Args[1], r.Args[2]) },
		unix.SYS_MKNODAT: func(s *Server, r *notify.Request) outcome {
			return s.mknod(r, int32(r.Args[0]), r.Args[1], r.Args[2], r.Args[3])
		},
		unix.SYS_SYMLINKAT: func(s *Server, r *notify.Request) outcome {
			return s.symlink(r, r.Args[0], int32(r.Args[1]), r.Args[2])
		},
		unix.SYS_OPENAT: func(s *Server, r *notify.Request) outcome {
			return s.openFile(r, int32(r.Args[0]), r.Args[1], r.Args[2], r.Args[3])
		},
	}
	maps.Copy(all, identityCalls())
	maps.Copy(all, ownCalls())
	return all
}

func owner(r *notify.Request, at int) Owner { return Owner{uint32(r.Args[at]), uint32(r.Args[at+1])} }

func (s *Server) mkdir(r *notify.Request, dirfd int32, path, mode uint64) outcome {
	return s.create(r, dirfd, path, func(dir int, name string) error { return unix.Mkdirat(dir, name, uint32(mode&0o7777)) })
}

func (s *Server) mknod(r *notify.Request, dirfd int32, path, mode, dev uint64) outcome {
	return s.create(r, dirfd, path, func(dir int, name string) error { return unix.Mknodat(dir, name, uint32(mode), int(dev)) })
}

func (s *Server) symlink(r *notify.Request, target uint64, dirfd int32, path uint64) outcome {
	return s.create(r, dirfd, path, func(dir int, name string) error {
		to, err := s.readPath(r, target)
		if err != nil {
			return err
		}
		return unix.Symlinkat(to, dir, name)
	})
}

// identityCalls ask for the caller's identities or change them.
func identityCalls() map[uint32]call {
	uid, gid := userOf(), groupOf()
	return map[uint32]call{
		unix.SYS_GETUID:    get(func(i identities) uint32 { return i.uid.real }),
		unix.SYS_GETEUID:   get(func(i identities) uint32 { return i.uid.effective }),
		unix.SYS_GETGID:    get(func(i identities) uint32 { return i.gid.real }),
		unix.SYS_GETEGID:   get(func(i identities) uint32 { return i.gid.effective }),
		unix.SYS_GETRESUID: getRES(uid),
		unix.SYS_GETRESGID: getRES(gid),
		unix.SYS_GETGROUPS: (*Server).getGroups,
		unix.SYS_SETGROUPS: (*Server).setGroups,
		unix.SYS_SETUID:    set(uid, setOne), unix.SYS_SETGID: set(gid, setOne),
		unix.SYS_SETREUID: set(uid, setRE), unix.SYS_SETREGID: set(gid, setRE),
		unix.SYS_SETRESUID: set(uid, setRES), unix.SYS_SETRESGID: set(gid, setRES),
		unix.SYS_SETFSUID: setFS(uid), unix.SYS_SETFSGID: setFS(gid),
		unix.SYS_PRCTL: (*Server).control,
	}
}

// which is one of a process's identities, and who may change it.
type which struct {
	of      func(*identities) *four
	mayBeBy func(identities) bool
}

func userOf() which { return which{func(i *identities) *four { return &i.uid }, identities.privileged} }

func groupOf() which {
	return which{func(i *identities) *four { return &i.gid }, identities.mayChangeGroups}
}

func setOne(f four, r *notify.Request, privileged bool) (four, unix.Errno) {
	return f.set(uint32(r.Args[0]), privileged)
}

func setRE(f four, r *notify.Request, privileged bool) (four, unix.Errno) {
	return f.setRE(uint32(r.Args[0]), uint32(r.Args[1]), privileged)
}

func setRES(f four, r *notify.Request, privileged bool) (four, unix.Errno) {
	return f.setRES(uint32(r.Args[0]), uint32(r.Args[1]), uint32(r.Args[2]), privileged)
}

func get(id func(identities) uint32) call {
	return func(s *Server, r *notify.Request) outcome {
		ids, err := s.people.of(r.TID)
		if err != nil {
			return fail(err)
		}
		return outcome{value: int64(id(ids))}
	}
}

func getRES(of which) call {
	return func(s *Server, r *notify.Request) outcome {
		ids, err := s.people.of(r.TID)
		if err != nil {
			return fail(err)
		}
		f := of.of(&ids)
		for at, id := range []uint32{f.real, f.effective, f.saved} {
			if err := s.writeIDs(r, r.Args[at], id); err != nil {
				return fail(err)
			}
		}
		return outcome{}
	}
}

func set(of which, do func(four, *notify.Request, bool) (four, unix.Errno)) call {
	return func(s *Server, r *notify.Request) outcome {
		return outcome{errno: s.people.become(r.TID, func(ids identities) (identities, unix.Errno) {
			before, f := ids, of.of(&ids)
			var errno unix.Errno
			*f, errno = do(*f, r, of.mayBeBy(ids))
			return ids.after(before), errno
		})}
	}
}

func setFS(of which) call {
	return func(s *Server, r *notify.Request) outcome {
		var before uint32
		errno := s.people.become(r.TID, func(ids identities) (identities, unix.Errno) {
			f := of.of(&ids)
			before = f.fs
			*f = f.setFS(uint32(r.Args[0]), of.mayBeBy(ids))
			return ids, 0
		})
		return outcome{errno: errno, value: int64(before)}
	}
}

// maxGroups is NGROUPS_MAX.
const maxGroups = 65536

func (s *Server) getGroups(r *notify.Request) outcome {
	ids, err := s.people.of(r.TID)
	if err != nil {
		return fail(err)
	}
	room := int(int32(r.Args[0]))
	switch {
	case room == 0:
	case room < len(ids.groups):
		return outcome{errno: unix.EINVAL}
	default:
		if err := s.writeIDs(r, r.Args[1], ids.groups...); err != nil {
			return fail(err)
		}
	}
	return outcome{value: int64(len(ids.groups))}
}

func (s *Server) setGroups(r *notify.Request) outcome {
	n := int(int32(r.Args[0]))
	if n < 0 || n > maxGroups {
		return outcome{errno: unix.EINVAL}
	}
	groups, err := s.readIDs(r, r.Args[1], n)
	if err != nil {
		return fail(err)
	}
	return outcome{errno: s.people.become(r.TID, func(ids identities) (identities, unix.Errno) {
		if !ids.mayChangeGroups() {
			return ids, unix.EPERM
		}
		ids.groups = slices.Sorted(slices.Values(groups))
		return ids, 0
	})}
}

// control is prctl(2): who gives up being root may keep root's rights.
func (s *Server) control(r *notify.Request) outcome {
	if r.Args[0] == unix.PR_SET_KEEPCAPS {
		errno := s.people.become(r.TID, func(ids identities) (identities, unix.Errno) {
			ids.keepCaps = r.Args[1] != 0
			return ids, 0
		})
		if errno != 0 {
			return outcome{errno: errno}
		}
	}
	return outcome{pass: true}
}
