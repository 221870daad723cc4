package filetree

import "strings"

// Diff returns the changes that make next of base, with parents, sorted. It compares identities and not contents: a file
// that was put anew counts as changed even if it is the same, as it does when it is copied over itself. next must come
// from base by edits: what the two share is skipped.
func Diff(base, next *Tree) ([]Change, error) {
	d := differ{base: base, next: next, first: map[*inode]string{}}
	if base.root.inode != next.root.inode {
		d.emit("", &next.root)
	}
	d.directory("", &base.root, &next.root)
	d.linkToBase()
	return WithParents(d.changes, next)
}

type differ struct {
	base, next *Tree
	changes    []Change
	// first is the first path at which each inode was emitted.
	first map[*inode]string
}

// directory compares the entries of two directories of the same path.
func (d *differ) directory(p string, a, b *Node) {
	if a.dir == b.dir {
		return
	}
	before, after := a.dir.children, b.dir.children
	for len(before) > 0 || len(after) > 0 {
		switch order := compareFirst(before, after); {
		case order < 0:
			d.changes = append(d.changes, Change{Entry: Entry{Path: Join(p, before[0].name), Type: Whiteout}})
			before = before[1:]
		case order > 0:
			d.added(Join(p, after[0].name), &after[0])
			after = after[1:]
		default:
			d.both(Join(p, after[0].name), &before[0], &after[0])
			before, after = before[1:], after[1:]
		}
	}
}

// compareFirst orders the first names of two lists, of which one may be empty.
func compareFirst(a, b []Node) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return strings.Compare(a[0].name, b[0].name)
}

// both compares what has the same path.
func (d *differ) both(p string, a, b *Node) {
	if a.dir == nil || b.dir == nil {
		if a.inode != b.inode {
			d.added(p, b)
		}
		return
	}
	if a.inode != b.inode {
		d.emit(p, b)
	}
	d.directory(p, a, b)
}

// added emits a node with all that is below it.
func (d *differ) added(p string, n *Node) {
	d.emit(p, n)
	for c := range n.Children() {
		d.added(Join(p, c.name), c)
	}
}

func (d *differ) emit(p string, n *Node) {
	c := Change{Entry: n.Entry(p)}
	if n.inode.typ == Directory {
		d.changes = append(d.changes, c)
		return
	}
	if first, again := d.first[n.inode]; again {
		c.Entry = Entry{Path: p, Type: Hardlink, Link: first, Mode: c.Mode, UID: c.UID, GID: c.GID, ModTime: c.ModTime}
		d.changes = append(d.changes, c)
		return
	}
	d.first[n.inode] = p
	if n.inode.typ == Regular {
		c.Source, c.From = n.Source(p)
		c.Offset = 0
	}
	d.changes = append(d.changes, c)
}

// linkToBase makes hardlinks of new names of files that the base has under a name that stays.
func (d *differ) linkToBase() {
	if len(d.first) == 0 {
		return
	}
	kept := map[*inode]string{}
	_ = d.base.Walk("", func(p string, n *Node) (bool, error) {
		if n.inode.typ != Directory {
			if _, emitted := d.first[n.inode]; emitted && kept[n.inode] == "" {
				if now, ok := d.next.Lookup(p); ok && now.inode == n.inode {
					kept[n.inode] = p
				}
			}
		}
		return true, nil
	})
	if len(kept) == 0 {
		return
	}
	for i := range d.changes {
		c := &d.changes[i]
		at := c.Path
		if c.Type == Hardlink {
			at = c.Link
		}
		n, ok := d.next.Lookup(at)
		if !ok || n.inode.typ == Directory || kept[n.inode] == "" {
			continue
		}
		*c = Change{Entry: Entry{Path: c.Path, Type: Hardlink, Link: kept[n.inode], Mode: c.Mode, UID: c.UID, GID: c.GID, ModTime: c.ModTime}}
	}
}
