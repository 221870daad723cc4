package rootfs

import (
	"bytes"
	"fmt"
	"os"
)

// Owners says which owners files have on disk. In a user namespace only mapped ids can own files: an id that is not mapped
// becomes 0 on disk, and the tree alone knows the truth. The zero value keeps all owners as they are.
type Owners struct {
	uids, gids []idRange // nil: every id
}

type idRange struct{ first, count uint32 }

// MappedOwners keeps the owners that this process's user namespace maps.
func MappedOwners() (Owners, error) {
	var o Owners
	for _, f := range []struct {
		name string
		into *[]idRange
	}{{"/proc/self/uid_map", &o.uids}, {"/proc/self/gid_map", &o.gids}} {
		text, err := os.ReadFile(f.name)
		if err != nil {
			return Owners{}, fmt.Errorf("learn which ids the user namespace maps: %w", err)
		}
		if *f.into, err = parseIDMap(text); err != nil {
			return Owners{}, fmt.Errorf("parse %q: %w", f.name, err)
		}
	}
	return o, nil
}

// parseIDMap reads the first and third column of user_namespaces(7)'s id maps.
func parseIDMap(text []byte) ([]idRange, error) {
	ranges := []idRange{}
	for line := range bytes.Lines(text) {
		var r idRange
		var outside uint32
		if _, err := fmt.Sscan(string(line), &r.first, &outside, &r.count); err != nil {
			return nil, fmt.Errorf("line %q: %w", bytes.TrimSpace(line), err)
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

// Single says whether all files have one owner on disk. Others are recorded with the files, by [identity.Attribute].
func (o Owners) Single() bool {
	return len(o.uids) == 1 && o.uids[0].count == 1
}

// OnDisk is the owner that a file of uid and gid has on disk.
func (o Owners) OnDisk(uid, gid uint32) (diskUID, diskGID uint32) {
	return mapped(o.uids, uid), mapped(o.gids, gid)
}

func mapped(ranges []idRange, id uint32) uint32 {
	if ranges == nil {
		return id
	}
	for _, r := range ranges {
		if id >= r.first && id-r.first < r.count {
			return id
		}
	}
	return 0
}

// OfChanged is the owner of a file that has uid and gid on disk, where the tree said beforeUID and beforeGID of the same
// path: what is on disk, unless that is how the earlier owner looks there.
func (o Owners) OfChanged(uid, gid, beforeUID, beforeGID uint32) (newUID, newGID uint32) {
	newUID, newGID = uid, gid
	if mapped(o.uids, beforeUID) == uid {
		newUID = beforeUID
	}
	if mapped(o.gids, beforeGID) == gid {
		newGID = beforeGID
	}
	return newUID, newGID
}
