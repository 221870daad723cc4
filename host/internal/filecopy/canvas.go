package filecopy

import (
	"fmt"
	"strings"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// maxLinks is Linux's limit on symlinks followed in one resolution, path_resolution(7).
const maxLinks = 40

// canvas is the destination with what was copied onto it so far.
type canvas struct {
	base    *filetree.Tree
	modTime int64

	strokes []stroke
	index   map[string]int // of the strokes by path
	// names are the strokes by directory, some of them removed since. They are kept from the first removal on.
	names map[string][]string
	// cleared are the paths whose directories in base were removed.
	cleared map[string]struct{}
	groups  int
	// said is what was said last of the owner, mode and time of a group, if that was not said of each name.
	said map[int]filetree.Entry
}

// stroke is one path that was written.
type stroke struct {
	filetree.Change
	// group is the same for all names of one file, and 0 for a file with one name. Each of them is kept as a regular
	// file, for which of them will be the last to remain is not known yet.
	group   int
	removed bool
}

func newCanvas(base *filetree.Tree, modTime int64) canvas {
	return canvas{base: base, modTime: modTime, index: map[string]int{}, cleared: map[string]struct{}{}, said: map[int]filetree.Entry{}}
}

// lookup is what is at a path that holds no symlink but perhaps the last element.
func (c *canvas) lookup(p string) (filetree.Entry, bool) {
	if i, ok := c.index[p]; ok {
		return c.strokes[i].Entry, true
	}
	if n := c.below(p); n != nil {
		return n.Entry(p), true
	}
	return filetree.Entry{}, false
}

// below is the node of the base at a path, unless it was removed.
func (c *canvas) below(p string) *filetree.Node {
	n, ok := c.base.Lookup(p)
	if !ok {
		return nil
	}
	if len(c.cleared) > 0 {
		for at := p; at != ""; at = filetree.Parent(at) {
			if _, gone := c.cleared[at]; gone {
				return nil
			}
		}
	}
	return n
}

// put writes one entry.
func (c *canvas) put(s stroke) error {
	if err := checkName(s.Path); err != nil {
		return err
	}
	if i, ok := c.index[s.Path]; ok {
		c.strokes[i] = s
		return nil
	}
	c.index[s.Path] = len(c.strokes)
	c.strokes = append(c.strokes, s)
	c.note(s.Path)
	return nil
}

func (c *canvas) note(p string) {
	if c.names != nil {
		dir := filetree.Parent(p)
		c.names[dir] = append(c.names[dir], p)
	}
}

// remove removes what is at a path, with everything below it.
func (c *canvas) remove(p string) {
	if _, ok := c.lookup(p); !ok {
		return
	}
	if n, ok := c.base.Lookup(p); ok && n.IsDir() {
		c.cleared[p] = struct{}{}
	}
	if c.names == nil {
		c.names = map[string][]string{}
		for q := range c.index {
			c.note(q)
		}
	}
	c.erase(p)
}

// erase forgets the strokes at and below a path.
func (c *canvas) erase(p string) {
	if i, ok := c.index[p]; ok {
		c.strokes[i].removed = true
		delete(c.index, p)
	}
	below := c.names[p]
	delete(c.names, p)
	for _, q := range below {
		c.erase(q)
	}
}

// resolve follows all symlinks of a path as a process would whose root directory is root, a path without symlinks. What
// does not exist is taken as it is written.
func (c *canvas) resolve(root, p string) (string, error) {
	at, links := root, 0
	for pending := strings.Split(p, "/"); len(pending) > 0; {
		name := pending[0]
		pending = pending[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if at != root {
				at = filetree.Parent(at)
			}
			continue
		}
		next := filetree.Join(at, name)
		e, ok := c.lookup(next)
		if !ok || e.Type != filetree.Symlink {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%q: %w", p, filetree.ErrTooManyLinks)
		}
		if strings.HasPrefix(e.Link, "/") {
			at = root
		}
		pending = append(strings.Split(e.Link, "/"), pending...)
	}
	return at, nil
}

// maker says how directories are made that nobody copied.
type maker struct {
	perm    uint16
	owner   *Owner
	without uint16 // bits that are not taken from the directory above
}

// mkdirAll makes a directory and its missing parents. The path holds no symlinks.
func (c *canvas) mkdirAll(p string, m maker) error {
	if e, ok := c.lookup(p); ok {
		if e.Type != filetree.Directory {
			return fmt.Errorf("%q: %w", "/"+p, filetree.ErrNotDirectory)
		}
		return nil
	}
	if err := c.mkdirAll(filetree.Parent(p), m); err != nil {
		return err
	}
	parent, _ := c.lookup(filetree.Parent(p))
	inherited := parent.Mode & filetree.SetGID // as mkdir(2)
	e := filetree.Entry{Path: p, Type: filetree.Directory, Mode: m.perm | inherited&^m.without, ModTime: c.modTime}
	switch {
	case m.owner != nil:
		e.UID, e.GID = m.owner.UID, m.owner.GID
	case inherited != 0:
		e.GID = parent.GID
	}
	return c.put(stroke{Change: filetree.Change{Entry: e}})
}
