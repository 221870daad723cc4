package cache

import (
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/sdk"
)

// MountSum digests what makes a cache mount another cache: its ID, the looks of its directory, the files that it starts
// with, and the circumstances that its files depend on.
func MountSum(circumstances string, m effect.Mount, initial []Input) Sum {
	h := newDigest("cache mount 1")
	h.string(circumstances)
	h.string(m.ID)
	for _, n := range []int64{m.Mode, m.UID, m.GID, int64(len(initial))} {
		h.int(n)
	}
	for _, in := range initial {
		h.bytes(in.sum[:])
	}
	return h.sum()
}

// MountKey is the key of the record of what a cache mount holds.
func MountKey(sum Sum) sdk.Key { return sdk.Key("mount/" + sum.String()) }

// TreeState tells the states of a directory apart by what can be seen without reading files.
func TreeState(changes []filetree.Change) string {
	h := newDigest("tree state")
	for i := range changes {
		e := &changes[i].Entry
		h.string(e.Path)
		h.string(e.Link)
		for _, n := range []int64{int64(e.Type), int64(e.Mode), int64(e.UID), int64(e.GID), e.Size, e.ModTime, int64(e.Major), int64(e.Minor)} {
			h.int(n)
		}
	}
	return h.sum().String()
}
