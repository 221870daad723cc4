package snapshot

import (
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/identity"
)

// recorded gives a file the owner that was recorded for it where the kernel does not have all users. A file or directory
// without a record is root's, and what is no record is somebody's own attribute. before is what the lower tree has there.
func (o Options) recorded(e *filetree.Entry, f *found, before *filetree.Node) {
	if !o.Owners.Single() {
		return
	}
	owner, known := o.Recorded[e.Path]
	if e.Type == filetree.Regular || e.Type == filetree.Directory {
		parsed, err := identity.ParseOwner(f.owner)
		if known = err == nil; known {
			owner = parsed
		} else {
			e.UID, e.GID = 0, 0
		}
	}
	if known && owner.UID != identity.Unrecorded {
		e.UID = owner.UID
	}
	if known && owner.GID != identity.Unrecorded {
		e.GID = owner.GID
	}
	f.inherit(e, before, known)
}

// inherit infers the group of what root made in a directory with the setgid bit: the kernel gave it that of the directory,
// where it has but one group. It is inferred where the directory had the bit before the process ran; what was moved there
// gets the group too, which nothing can tell from what was made there.
func (f *found) inherit(e *filetree.Entry, before *filetree.Node, known bool) {
	made := before == nil && !known && (f.isDir() || f.stat.Nlink == 1)
	if made {
		e.GID = f.heir
	}
	if !f.isDir() || e.Mode&unix.S_ISGID == 0 {
		return
	}
	if made || before != nil && before.IsDir() && before.Entry("").Mode&unix.S_ISGID != 0 {
		f.heirs = e.GID
	}
}
