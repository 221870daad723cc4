package identity

import (
	"slices"

	"golang.org/x/sys/unix"
)

// identities are the IDs of a process, as credentials(7) names them.
type identities struct {
	uid, gid four
	groups   []uint32
	// keepCaps is prctl(PR_SET_KEEPCAPS), kept what is left of root's rights thanks to it: to change groups.
	keepCaps, kept bool
}

// four are the forms of one ID.
type four struct{ real, effective, saved, fs uint32 }

func of(u User) identities {
	return identities{
		uid: four{u.UID, u.UID, u.UID, u.UID}, gid: four{u.GID, u.GID, u.GID, u.GID}, groups: slices.Sorted(slices.Values(u.Groups)), // as the kernel keeps them
	}
}

// root says whether a process is what all are in the eyes of the kernel.
func (i identities) root() bool {
	return i.uid == four{} && i.gid == four{} && len(i.groups) == 0 && !i.keepCaps
}

// privileged says whether a process may be whom it likes.
func (i identities) privileged() bool { return i.uid.effective == 0 }

// mayChangeGroups says whether a process may have the groups that it likes.
func (i identities) mayChangeGroups() bool { return i.privileged() || i.kept }

// after notes what a change of users leaves, see capabilities(7).
func (i identities) after(before identities) identities {
	none := func(f four) bool { return f.real != 0 && f.effective != 0 && f.saved != 0 }
	switch {
	case i.privileged():
		i.kept = false
	case none(i.uid) && !none(before.uid):
		i.kept = i.keepCaps
	}
	return i
}

// member says whether a process is in a group.
func (i identities) member(gid uint32) bool { return gid == i.gid.fs || slices.Contains(i.groups, gid) }

// keep stands for an ID that stays as it is.
const keep = ^uint32(0)

// set is setuid(2), and setgid(2) likewise.
func (f four) set(id uint32, privileged bool) (four, unix.Errno) {
	switch {
	case id == keep:
		return f, unix.EINVAL
	case privileged:
		return four{id, id, id, id}, 0
	case id == f.real || id == f.saved:
		f.effective, f.fs = id, id
		return f, 0
	}
	return f, unix.EPERM
}

// setRE is setreuid(2).
func (f four) setRE(r, e uint32, privileged bool) (four, unix.Errno) {
	old := f
	if r != keep {
		if !privileged && r != old.real && r != old.effective {
			return old, unix.EPERM
		}
		f.real = r
	}
	if e != keep {
		if !privileged && e != old.real && e != old.effective && e != old.saved {
			return old, unix.EPERM
		}
		f.effective = e
	}
	if r != keep || e != keep && e != old.real {
		f.saved = f.effective
	}
	f.fs = f.effective
	return f, 0
}

// setRES is setresuid(2).
func (f four) setRES(r, e, s uint32, privileged bool) (four, unix.Errno) {
	old := f
	for _, x := range []struct {
		id   uint32
		into *uint32
	}{{r, &f.real}, {e, &f.effective}, {s, &f.saved}} {
		if x.id == keep {
			continue
		}
		if !privileged && x.id != old.real && x.id != old.effective && x.id != old.saved {
			return old, unix.EPERM
		}
		*x.into = x.id
	}
	f.fs = f.effective
	return f, 0
}

// setFS is setfsuid(2), which has no errors.
func (f four) setFS(id uint32, privileged bool) four {
	if id != keep && (privileged || id == f.real || id == f.effective || id == f.saved || id == f.fs) {
		f.fs = id
	}
	return f
}
