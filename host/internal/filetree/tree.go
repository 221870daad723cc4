package filetree

import (
	"iter"
	"maps"
	"slices"
	"strings"
)

// Tree is the merged view of a stack of layers. It is immutable and safe for concurrent use; [Tree.Edit] makes changed
// ones that share what they have in common. The zero value is not usable: start from [Empty].
type Tree struct {
	root Node
}

// Node is a name in a tree with the file it names. Nodes are values of an immutable tree: never write to what one
// points to.
type Node struct {
	name  string
	inode *inode
	dir   *directory // children; non-nil exactly for directories
}

// inode is a file without its name. Hardlinks share one. Its 80 bytes are most of what an index costs.
type inode struct {
	typ      Type
	mode     uint16
	uid, gid uint32
	block    uint32 // offset of the content in blocks of a tar
	size     int64
	modTime  int64
	digest   Digest
	origin   *origin
	more     *rarely
}

// blockSize is that of tar; content starts on a block.
const blockSize = 512

// origin is a source, shared by the files that come from it.
type origin struct{ source Source }

// rarely holds what few files have.
type rarely struct {
	link         string
	major, minor uint32
	xattrs       map[string]string
	firstName    string // for hardlinks: the name under which the source knows the content
}

func (in *inode) offset() int64 { return int64(in.block) * blockSize }

// directory holds sorted children. One whose owner is an editor belongs to that editor alone and may be changed by it.
type directory struct {
	children []Node
	owner    *Editor
}

// Empty is a tree with nothing but a root directory, mode 0755, as FROM scratch starts.
func Empty() *Tree {
	return &Tree{root: Node{inode: &inode{typ: Directory, mode: 0o755}, dir: &directory{}}}
}

// Root is the root directory.
func (t *Tree) Root() *Node { return &t.root }

// Lookup finds the node at a clean path without following any symlink.
func (t *Tree) Lookup(p string) (*Node, bool) {
	n := &t.root
	for p != "" {
		var name string
		name, p, _ = strings.Cut(p, "/")
		if n = n.Child(name); n == nil {
			return nil, false
		}
	}
	return n, true
}

// Child finds a directory's entry by name; nil if there is none or n is no directory.
func (n *Node) Child(name string) *Node {
	if n.dir == nil {
		return nil
	}
	if i, ok := n.dir.find(name); ok {
		return &n.dir.children[i]
	}
	return nil
}

func (d *directory) find(name string) (int, bool) {
	// Entries mostly arrive in order: look at the end first.
	if k := len(d.children); k == 0 || d.children[k-1].name < name {
		return k, false
	}
	return slices.BinarySearchFunc(d.children, name, func(n Node, name string) int { return strings.Compare(n.name, name) })
}

// Children yields a directory's entries in byte order of their names.
func (n *Node) Children() iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		if n.dir == nil {
			return
		}
		for i := range n.dir.children {
			if !yield(&n.dir.children[i]) {
				return
			}
		}
	}
}

// Len is the number of a directory's entries.
func (n *Node) Len() int {
	if n.dir == nil {
		return 0
	}
	return len(n.dir.children)
}

// Name is the last element of the node's path; "" for the root.
func (n *Node) Name() string { return n.name }

// Type is one of Regular, Directory, Symlink, CharDevice, BlockDevice and FIFO.
func (n *Node) Type() Type { return n.inode.typ }

// IsDir says whether n is a directory.
func (n *Node) IsDir() bool { return n.inode.typ == Directory }

// Mode is the permission bits 07777.
func (n *Node) Mode() uint16 { return n.inode.mode }

// Size is that of a regular file in bytes.
func (n *Node) Size() int64 { return n.inode.size }

// Link is the target of a symlink.
func (n *Node) Link() string {
	if n.inode.more == nil {
		return ""
	}
	return n.inode.more.link
}

// SameFile says whether both names are hardlinks to one file.
func (n *Node) SameFile(o *Node) bool { return n.inode == o.inode }

// FileID is equal for hardlinks of one file and different for all else. It is valid as long as the tree is.
func (n *Node) FileID() any { return n.inode }

// Source says where the content of a regular file comes from: the source, nil for an empty file, and the file's name
// there. p is the node's own path.
func (n *Node) Source(p string) (Source, Ref) {
	in := n.inode
	ref := Ref{Path: p, Offset: in.offset(), Size: in.size, Digest: in.digest}
	if in.more != nil && in.more.firstName != "" {
		ref.Path = in.more.firstName
	}
	if in.origin == nil {
		return nil, ref
	}
	return in.origin.source, ref
}

// Entry is what a layer would say of the node at path p, were it not a hardlink. Its Xattrs may be changed by the caller.
func (n *Node) Entry(p string) Entry {
	in := n.inode
	e := Entry{
		Path: p, Type: in.typ, Mode: in.mode, UID: in.uid, GID: in.gid, Size: in.size,
		ModTime: in.modTime, Digest: in.digest, Offset: in.offset(),
	}
	if in.more != nil {
		e.Link, e.Major, e.Minor, e.Xattrs = in.more.link, in.more.major, in.more.minor, maps.Clone(in.more.xattrs)
	}
	return e
}

// Walk visits the node at path p, if there is one, and everything below it, a directory before its entries, in the order
// of [Compare]. visit returns whether to go on into a directory; its answer is ignored for all else. An error ends the walk.
func (t *Tree) Walk(p string, visit func(p string, n *Node) (bool, error)) error {
	n, ok := t.Lookup(p)
	if !ok {
		return nil
	}
	return walk(p, n, visit)
}

func walk(p string, n *Node, visit func(string, *Node) (bool, error)) error {
	into, err := visit(p, n)
	if err != nil || !into {
		return err
	}
	for c := range n.Children() {
		if err := walk(Join(p, c.name), c, visit); err != nil {
			return err
		}
	}
	return nil
}
