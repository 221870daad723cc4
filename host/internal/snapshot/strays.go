package snapshot

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// Strays lists what in the directory is not as it was when the record was taken, which nobody should have touched since: its
// paths, sorted, "" for the directory itself. A directory is listed only if nothing in it is. No file is read.
//
// A file that was changed in the tick of the record counts as unchanged if it looks so: [Record.Await], called right after the
// record was taken, makes sure that there is none.
func (r *Record) Strays(ctx context.Context, opts Options) ([]string, error) {
	w := newWalker(r, opts)
	w.against = youngSame
	root := &found{}
	if err := w.run(ctx, root); err != nil {
		return nil, fmt.Errorf("compare %q with its record: %w", r.dir, err)
	}
	paths := root.leaves("", nil)
	if len(paths) == 0 && w.after.root.signature != r.root.signature {
		paths = append(paths, "")
	}
	return paths, nil
}

// leaves adds the paths of what is shown below a directory.
func (f *found) leaves(p string, paths []string) []string {
	for _, child := range f.children {
		at := filetree.Join(p, child.name)
		if len(child.children) == 0 {
			paths = append(paths, at)
			continue
		}
		paths = child.leaves(at, paths)
	}
	return paths
}

// Holds says whether the record looks like a tree: by its names, and the types, modes, owners, sizes and times of files. It
// reads nothing. What a file system could not take, such as a device, makes it another.
func (r *Record) Holds(tree *filetree.Tree, owners rootfs.Owners) bool {
	return r.root.dir.holds(tree.Root(), "", owners)
}

func (d *directory) holds(n *filetree.Node, p string, owners rootfs.Owners) bool {
	files := d.list()
	if len(files) != n.Len() {
		return false
	}
	for i := range files {
		f := &files[i]
		child := n.Child(f.name)
		if child == nil || !f.looksLike(child, filetree.Join(p, f.name), owners) {
			return false
		}
		if f.isDir() && !f.dir.holds(child, filetree.Join(p, f.name), owners) {
			return false
		}
	}
	return true
}

func (f *file) looksLike(n *filetree.Node, p string, owners rootfs.Owners) bool {
	e := n.Entry(p)
	uid, gid := owners.OnDisk(e.UID, e.GID)
	if uint32(f.mode)&unix.S_IFMT != format(e.Type) || f.uid != uid || f.gid != gid {
		return false
	}
	if e.Type != filetree.Symlink && f.mode&0o7777 != e.Mode {
		return false
	}
	if e.Type == filetree.Directory {
		return true
	}
	return seconds(f.mtime) == seconds(e.ModTime) && (e.Type != filetree.Regular || f.size == e.Size)
}

// format is the type of a file as the kernel has it.
func format(t filetree.Type) uint32 {
	switch t {
	case filetree.Directory:
		return unix.S_IFDIR
	case filetree.Symlink:
		return unix.S_IFLNK
	case filetree.FIFO:
		return unix.S_IFIFO
	case filetree.CharDevice:
		return unix.S_IFCHR
	case filetree.BlockDevice:
		return unix.S_IFBLK
	}
	return unix.S_IFREG
}
