package filetree

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Editor makes a changed tree. It is for one goroutine; directories are copied when first changed.
type Editor struct {
	root   Node
	origin *origin // the last one made
}

// Edit starts a changed tree.
func (t *Tree) Edit() *Editor { return &Editor{root: t.root} }

// Tree ends the edit. The editor must not be used afterwards.
func (e *Editor) Tree() *Tree {
	t := &Tree{root: e.root}
	// Ownership ends here: a later editor is another pointer, so nothing of t can be changed again.
	e.root = Node{}
	return t
}

// Apply returns t with a layer put on top. Entries may come in any order, as archives hold them; source is where the
// layer's files can be read. Whiteouts act on t alone, wherever in the list they stand: a layer may delete a path and
// make it anew.
func (t *Tree) Apply(entries []Entry, source Source) (*Tree, error) {
	e := t.Edit()
	for i := range entries {
		if entries[i].Type == Whiteout || entries[i].Type == Opaque {
			if err := e.Put(entries[i], nil, Ref{}); err != nil {
				return nil, err
			}
		}
	}
	var early []*Entry // hardlinks to files that the layer names later
	for i := range entries {
		x := &entries[i]
		if x.Type == Whiteout || x.Type == Opaque {
			continue
		}
		err := e.Put(*x, source, Ref{Path: x.Path, Offset: x.Offset})
		switch {
		case err == nil:
		case x.Type == Hardlink && errors.Is(err, ErrNotExist):
			early = append(early, x)
		default:
			return nil, err
		}
	}
	for _, x := range early {
		if err := e.Put(*x, source, Ref{}); err != nil {
			return nil, err
		}
	}
	return e.Tree(), nil
}

// ApplyChanges returns t with the changes of a layer applied, its files still where the changes say they are.
func (t *Tree) ApplyChanges(changes []Change) (*Tree, error) {
	e := t.Edit()
	for i := range changes {
		if err := e.Put(changes[i].Entry, changes[i].Source, changes[i].From); err != nil {
			return nil, err
		}
	}
	return e.Tree(), nil
}

// Put does to the tree what one entry of a layer says. Missing parents are made, mode 0755 and owned by root; a parent
// that is a symlink is followed inside the root. A directory over a directory keeps its entries; anything else replaces
// what was there.
func (e *Editor) Put(x Entry, source Source, from Ref) error {
	if x.Path == "" {
		return e.putRoot(x)
	}
	if x.Type == Whiteout {
		e.remove(x.Path)
		return nil
	}
	if x.Type == Opaque {
		return e.clear(x.Path)
	}
	parent, at, err := e.parent(x.Path)
	if err != nil {
		return err
	}
	if at != Parent(x.Path) { // a parent is a symlink, and this is where it leads
		x.Path = Join(at, Base(x.Path))
	}
	in, err := e.newInode(x, source, from)
	if err != nil {
		return err
	}
	d := e.own(parent)
	name := Base(x.Path)
	i, found := d.find(name)
	if !found {
		d.children = slices.Insert(d.children, i, Node{name: strings.Clone(name)}) // not a slice of the long path
	}
	n := &d.children[i]
	n.inode = in
	switch {
	case in.typ != Directory:
		n.dir = nil
	case n.dir == nil:
		n.dir = &directory{owner: e}
	}
	return nil
}

func (e *Editor) putRoot(x Entry) error {
	switch x.Type {
	case Opaque:
		e.root.dir = &directory{owner: e}
	case Directory:
		in, err := e.newInode(x, nil, Ref{})
		if err != nil {
			return err
		}
		e.root.inode = in
	default:
		return fmt.Errorf("make the root directory a %s", x.Type)
	}
	return nil
}

// newInode turns an entry into an inode, or finds the one that a hardlink names.
func (e *Editor) newInode(x Entry, source Source, from Ref) (*inode, error) {
	if x.Type == Hardlink {
		return e.hardlink(x)
	}
	in := &inode{typ: x.Type, mode: x.Mode & 0o7777, uid: x.UID, gid: x.GID, modTime: x.ModTime}
	var more rarely
	switch x.Type {
	case Regular:
		if from.Offset%blockSize != 0 || from.Offset < 0 || from.Offset/blockSize > math.MaxUint32 {
			return nil, fmt.Errorf("%q: content at offset %d, which no tar can have", x.Path, from.Offset)
		}
		in.size, in.digest, in.origin, in.block = x.Size, x.Digest, e.originOf(source), uint32(from.Offset/blockSize)
		if from.Path != x.Path {
			more.firstName = from.Path
		}
	case Symlink:
		more.link = x.Link
	case CharDevice, BlockDevice:
		more.major, more.minor = x.Major, x.Minor
	case Directory, FIFO:
	default:
		return nil, fmt.Errorf("%q: unknown type %d", x.Path, x.Type)
	}
	more.xattrs = maps.Clone(x.Xattrs)
	if more.link != "" || more.firstName != "" || more.major|more.minor != 0 || len(more.xattrs) > 0 {
		in.more = &more
	}
	return in, nil
}

func (e *Editor) originOf(source Source) *origin {
	if source == nil {
		return nil
	}
	if e.origin == nil || e.origin.source != source {
		e.origin = &origin{source}
	}
	return e.origin
}

func (e *Editor) hardlink(x Entry) (*inode, error) {
	node, err := e.mutable(x.Link)
	if err != nil {
		return nil, fmt.Errorf("hardlink %q to %q: %w", x.Path, x.Link, err)
	}
	in := node.inode
	if in.typ == Directory {
		return nil, fmt.Errorf("hardlink %q to %q: is a directory", x.Path, x.Link)
	}
	if in.typ == Regular && (in.more == nil || in.more.firstName == "") {
		// The first hardlink: from now on the file has to know the name that its source knows.
		c := *in
		c.more = &rarely{firstName: Clean(x.Link)}
		if in.more != nil {
			*c.more = *in.more
			c.more.firstName = Clean(x.Link)
		}
		node.inode, in = &c, &c
	}
	return in, nil
}

// own makes a directory's entries changeable.
func (e *Editor) own(n *Node) *directory {
	if n.dir.owner != e {
		n.dir = &directory{children: slices.Clone(n.dir.children), owner: e}
	}
	return n.dir
}

// mutable finds the node at a clean path, not following a last symlink, with all directories above it changeable.
func (e *Editor) mutable(p string) (*Node, error) {
	t := Tree{root: e.root}
	real, _, err := t.Resolve(p, KeepLast)
	if err != nil {
		return nil, err
	}
	n := &e.root
	for _, name := range elements(real) {
		d := e.own(n)
		i, ok := d.find(name)
		if !ok {
			return nil, ErrNotExist
		}
		n = &d.children[i]
	}
	return n, nil
}

// parent finds the directory that shall hold p, changeable, and its path without symlinks, making what is missing.
func (e *Editor) parent(p string) (*Node, string, error) {
	n, path := &e.root, Parent(p)
	for _, name := range elements(path) {
		d := e.own(n)
		at, ok := d.find(name)
		if !ok || !d.children[at].IsDir() {
			return e.makeParent(p)
		}
		n = &d.children[at]
	}
	return n, path, nil
}

// makeParent is parent where something is missing or a symlink: it makes what is missing one directory at a time, where
// the symlinks lead to.
func (e *Editor) makeParent(p string) (*Node, string, error) {
	for {
		r := resolver{pending: elements(Parent(p)), chain: []*Node{&e.root}}
		err := r.run(FollowLast)
		at := strings.Join(r.names, "/")
		switch {
		case err == nil && r.node().IsDir():
			n, err := e.mutable(at)
			return n, at, err
		case err == nil:
			return nil, "", fmt.Errorf("%q: %w", p, ErrNotDirectory)
		case !errors.Is(err, ErrNotExist):
			return nil, "", fmt.Errorf("%q: %w", p, err)
		}
		n, err := e.mutable(at)
		if err != nil {
			return nil, "", err
		}
		d, name := e.own(n), r.pending[0]
		i, _ := d.find(name)
		d.children = slices.Insert(d.children, i, Node{name: strings.Clone(name), inode: &inode{typ: Directory, mode: 0o755}, dir: &directory{owner: e}})
	}
}

// remove deletes what is at a clean path, if anything is. A parent that is a symlink is followed.
func (e *Editor) remove(p string) {
	t := Tree{root: e.root}
	real, _, err := t.Resolve(p, KeepLast)
	if err != nil {
		return
	}
	parent, err := e.mutable(Parent(real))
	if err != nil {
		return
	}
	d := e.own(parent)
	if i, ok := d.find(Base(real)); ok {
		d.children = slices.Delete(d.children, i, i+1)
	}
}

// clear empties a directory.
func (e *Editor) clear(p string) error {
	n, err := e.mutable(p)
	if err != nil || !n.IsDir() {
		return nil // nothing there to hide
	}
	n.dir = &directory{owner: e}
	return nil
}

func elements(p string) []string {
	if p == "" {
		return nil
	}
	return strings.Split(p, "/")
}
