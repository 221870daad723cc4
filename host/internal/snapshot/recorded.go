package snapshot

import (
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/identity"
)

// recorded gives a file the owner that was recorded for it where the kernel does not have all users. A file or directory
// without a record is root's. What is no record is somebody's own attribute.
func (o Options) recorded(e *filetree.Entry, attribute string) {
	if !o.Owners.Single() {
		return
	}
	owner, ok := o.Recorded[e.Path]
	if e.Type == filetree.Regular || e.Type == filetree.Directory {
		owner, ok = identity.Owner{}, true
		if parsed, err := identity.ParseOwner(attribute); err == nil {
			owner = parsed
		}
	}
	if !ok {
		return
	}
	if owner.UID != identity.Unrecorded {
		e.UID = owner.UID
	}
	if owner.GID != identity.Unrecorded {
		e.GID = owner.GID
	}
}
