package snapshot

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// differ compares what was found with the lower tree. Its list of candidates is in the order of the changes to be.
type differ struct {
	opts   Options
	source *rootfs.DirSource
	found  []*candidate
	links  map[inode]*linkGroup
}

type inode struct{ dev, ino uint64 }

// candidate is a path that may be a change.
type candidate struct {
	change filetree.Change
	before *filetree.Node // nil where the lower tree has nothing
	state  state
}

// state says what is known of a candidate.
type state uint8

const (
	changed   state = iota
	unchanged       // listed only as the parent of changes
	undecided       // all but the content is equal
)

// linkGroup is the names of one file, in the order of the list.
type linkGroup struct{ names []*candidate }

// lowerView says whether a directory of the upper shows what the lower tree has in it.
type lowerView uint8

const (
	mergedWithLower lowerView = iota
	hidingLower
)

// dir compares the entries of a directory. before is the lower tree's node at p, nil if that is no directory.
func (d *differ) dir(p string, f *found, before *filetree.Node, view lowerView) {
	for _, child := range f.children {
		child.heir = f.heirs
	}
	if view == mergedWithLower || before == nil {
		for _, child := range f.children {
			d.entry(filetree.Join(p, child.name), child, childOf(before, child.name), mergedWithLower)
		}
		return
	}
	// Names that are in the lower tree alone are gone.
	gone := make(map[string]bool, before.Len())
	for n := range before.Children() {
		gone[n.Name()] = true
	}
	for _, child := range f.children {
		delete(gone, child.name)
	}
	names := slices.Sorted(maps.Keys(gone))
	for _, child := range f.children {
		for len(names) > 0 && names[0] < child.name {
			d.whiteout(filetree.Join(p, names[0]))
			names = names[1:]
		}
		d.entry(filetree.Join(p, child.name), child, childOf(before, child.name), hidingLower)
	}
	for _, name := range names {
		d.whiteout(filetree.Join(p, name))
	}
}

func childOf(dir *filetree.Node, name string) *filetree.Node {
	if dir == nil {
		return nil
	}
	return dir.Child(name)
}

func (d *differ) whiteout(p string) {
	d.found = append(d.found, &candidate{change: filetree.Change{Entry: filetree.Entry{Path: p, Type: filetree.Whiteout}}})
}

func (d *differ) entry(p string, f *found, before *filetree.Node, view lowerView) {
	if f.mark == whiteout || f.format() == unix.S_IFSOCK {
		if before != nil {
			d.whiteout(p)
		}
		return
	}
	c := &candidate{change: filetree.Change{Entry: d.describe(p, f, before)}, before: before}
	c.state = compare(&c.change.Entry, before)
	at := len(d.found)
	d.found = append(d.found, c)
	if !f.isDir() {
		d.file(c, f)
		return
	}
	if f.mark == opaque {
		view = hidingLower
	}
	if before != nil && !before.IsDir() {
		before = nil
	}
	d.dir(p, f, before, view)
	if c.state == unchanged && len(d.found) == at+1 {
		d.found = d.found[:at]
	}
}

// file completes the candidate of anything but a directory.
func (d *differ) file(c *candidate, f *found) {
	e := &c.change.Entry
	if e.Type == filetree.Regular && e.Size > 0 {
		c.change.Source = d.source
		c.change.From = filetree.Ref{Path: e.Path, Size: e.Size}
	}
	if f.stat.Nlink > 1 {
		id := inode{f.stat.Dev, f.stat.Ino}
		if d.links[id] == nil {
			d.links[id] = &linkGroup{}
		}
		d.links[id].names = append(d.links[id].names, c)
	}
}

// describe makes an entry of what is on disk.
func (d *differ) describe(p string, f *found, before *filetree.Node) filetree.Entry {
	st := &f.stat
	e := filetree.Entry{
		Path: p, Mode: uint16(st.Mode & 0o7777), UID: st.Uid, GID: st.Gid, ModTime: st.Mtim.Nano(), Link: f.link, Xattrs: f.xattrs,
	}
	if before != nil {
		b := before.Entry(p)
		e.UID, e.GID = d.opts.Owners.OfChanged(st.Uid, st.Gid, b.UID, b.GID)
	}
	switch f.format() {
	case unix.S_IFREG:
		e.Type, e.Size = filetree.Regular, st.Size
	case unix.S_IFDIR:
		e.Type = filetree.Directory
	case unix.S_IFLNK:
		e.Type = filetree.Symlink
	case unix.S_IFIFO:
		e.Type = filetree.FIFO
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Type = filetree.CharDevice
		if f.format() == unix.S_IFBLK {
			e.Type = filetree.BlockDevice
		}
		e.Major, e.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	d.opts.recorded(&e, f, before)
	return e
}

// compare decides what metadata can decide.
func compare(e *filetree.Entry, before *filetree.Node) state {
	if before == nil || before.Type() != e.Type {
		return changed
	}
	b := before.Entry(e.Path)
	// A symlink's mode means nothing, and layers hold what their writer thought of.
	sameMode := e.Mode == b.Mode || e.Type == filetree.Symlink
	if !sameMode || e.UID != b.UID || e.GID != b.GID || e.Xattrs[capability] != b.Xattrs[capability] {
		return changed
	}
	switch {
	case e.Type == filetree.Directory:
		return unchanged
	case seconds(e.ModTime) != seconds(b.ModTime), e.Size != b.Size, e.Link != b.Link, e.Major != b.Major, e.Minor != b.Minor:
		return changed
	case e.Type != filetree.Regular || e.Size == 0:
		return unchanged
	case !b.Digest.Known():
		return changed
	}
	return undecided
}

// seconds rounds down, as layers do.
func seconds(ns int64) int64 {
	s := ns / 1e9
	if ns%1e9 < 0 {
		s--
	}
	return s
}
