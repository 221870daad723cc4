package rootfs

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Unpacker writes one layer into a directory of its own, in overlayfs's form. It is for one goroutine: [Unpacker.Entry] for
// every entry of the layer in the layer's order, then [Unpacker.Finish]; [Unpacker.Close] in any case.
//
// An unpacker knows nothing of the layers below until Finish is told, so layers can be unpacked in parallel and before
// they are all there.
type Unpacker struct {
	site *site
	crew *crew
	root *unpackedDir

	// Where the last entry went, which is mostly where the next one goes.
	lastDir  string
	lastNode *unpackedDir

	links       []pendingLink
	lateTargets []string // what links name that was not there when they did
	whiteouts   []string
	opaque      []string
	beforehand  []string // directories made because something is in them, before the layer said anything of them
}

// unpackedDir is a directory of the layer, as far as it was seen.
type unpackedDir struct {
	entries map[string]unpacked
	hides   visibility
}

// unpacked is a name in an unpackedDir: a directory, a symlink or any other file.
type unpacked struct {
	dir  *unpackedDir
	kind filetree.Type
}

type pendingLink struct{ path, target string }

// NewUnpacker unpacks into an existing, empty directory.
func NewUnpacker(dir string, opts Options) (*Unpacker, error) {
	s, err := openSite(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("unpack a layer: %w", err)
	}
	return &Unpacker{site: s, crew: newCrew(s), root: &unpackedDir{}}, nil
}

// Close ends the unpacker and frees what it holds. The directory stays.
func (u *Unpacker) Close() error {
	_ = u.crew.stop() // Entry and Finish return the crew's errors
	return u.site.close()
}

// Entry takes the layer's next entry. content yields the e.Size bytes of a regular file, and may be nil where there are
// none. The error wraps [ErrEntangled] where the layer cannot be unpacked on its own.
func (u *Unpacker) Entry(e filetree.Entry, content io.Reader) error {
	if err := checkPath(e.Path); err != nil {
		return err
	}
	switch e.Type {
	case filetree.Whiteout:
		u.whiteouts = append(u.whiteouts, e.Path)
		return nil
	case filetree.Opaque:
		u.opaque = append(u.opaque, e.Path)
		return nil
	}
	if e.Path == "" {
		if e.Type != filetree.Directory {
			return fmt.Errorf("unpack the root directory: layer says that it is a %s", e.Type)
		}
		return nil
	}
	dir, err := u.parent(e.Path)
	if err != nil {
		return err
	}
	name := filetree.Base(e.Path)
	old, exists := dir.entries[name]
	switch {
	case exists && e.Type == filetree.Directory && old.dir != nil:
		return nil // its metadata is set at the end
	case exists && e.Type == filetree.Hardlink && e.Link == e.Path:
		return nil
	case exists:
		if err := u.replace(dir, e.Path); err != nil {
			return err
		}
	}
	if err := u.add(dir, name, &e, content); err != nil {
		return err
	}
	if made := dir.entries[name].dir; exists && made != nil {
		made.hides = hidesLower // what was there for a while replaced what is below
	}
	return nil
}

// checkPath refuses what no layer reader may hand out: it cleans the paths of archives.
func checkPath(p string) error {
	if p != filetree.Clean(p) || strings.IndexByte(p, 0) >= 0 {
		return fmt.Errorf("unpack %q: not a clean path", p)
	}
	return nil
}

func (u *Unpacker) add(dir *unpackedDir, name string, e *filetree.Entry, content io.Reader) error {
	made := unpacked{kind: e.Type}
	var err error
	switch e.Type {
	case filetree.Regular:
		err = u.crew.file(e, content)
	case filetree.Directory:
		made.dir = &unpackedDir{}
		err = u.site.makeDir(e.Path)
	case filetree.Symlink:
		err = u.site.makeSymlink(e)
	case filetree.Hardlink:
		return u.addLink(dir, name, e)
	case filetree.CharDevice, filetree.BlockDevice, filetree.FIFO:
		err = u.site.makeNode(e)
	default:
		return fmt.Errorf("unpack %q: unknown type %d", e.Path, e.Type)
	}
	if err != nil {
		return err
	}
	dir.put(name, made)
	return nil
}

func (u *Unpacker) addLink(dir *unpackedDir, name string, e *filetree.Entry) error {
	if err := checkPath(e.Link); err != nil {
		return fmt.Errorf("unpack hardlink %q: %w", e.Path, err)
	}
	if _, ok := u.find(e.Link); !ok {
		u.lateTargets = append(u.lateTargets, e.Link)
	}
	u.links = append(u.links, pendingLink{path: e.Path, target: e.Link})
	if e.Link == e.Path {
		return nil // a file of the layers below: noticed at the end
	}
	dir.put(name, unpacked{kind: filetree.Hardlink})
	return nil
}

func (d *unpackedDir) put(name string, x unpacked) {
	if d.entries == nil {
		d.entries = make(map[string]unpacked)
	}
	d.entries[name] = x
}

// parent is the directory that shall hold p. What is missing is made.
func (u *Unpacker) parent(p string) (*unpackedDir, error) {
	at := filetree.Parent(p)
	if u.lastNode != nil && u.lastDir == at {
		return u.lastNode, nil
	}
	d := u.root
	for i := 0; i < len(at); {
		end := i + len(at[i:])
		if k := strings.IndexByte(at[i:], '/'); k >= 0 {
			end = i + k
		}
		x, ok := d.entries[at[i:end]]
		switch {
		case !ok:
			if err := u.site.makeDir(at[:end]); err != nil {
				return nil, err
			}
			u.beforehand = append(u.beforehand, at[:end])
			x = unpacked{dir: &unpackedDir{}, kind: filetree.Directory}
			d.put(at[i:end], x)
		case x.kind == filetree.Symlink || x.kind == filetree.Hardlink:
			return nil, fmt.Errorf("unpack %q: %q is a %s: %w", p, at[:end], x.kind, ErrEntangled)
		case x.dir == nil:
			return nil, fmt.Errorf("unpack %q: %q: %w", p, at[:end], filetree.ErrNotDirectory)
		}
		d, i = x.dir, end+1
	}
	u.lastDir, u.lastNode = at, d
	return d, nil
}

// find looks for a path among what the layer has had so far.
func (u *Unpacker) find(p string) (unpacked, bool) {
	x := unpacked{dir: u.root, kind: filetree.Directory}
	for name := range strings.SplitSeq(p, "/") {
		if x.dir == nil {
			return unpacked{}, false
		}
		var ok bool
		if x, ok = x.dir.entries[name]; !ok {
			return unpacked{}, false
		}
	}
	return x, true
}

// replace deletes what the layer had at p, for it names p again. All that waits is done first: it may be about p.
func (u *Unpacker) replace(dir *unpackedDir, p string) error {
	if err := u.crew.drain(); err != nil {
		return err
	}
	waiting, err := u.link()
	if err != nil {
		return err
	}
	u.links = waiting
	if err := u.site.remove(p); err != nil {
		return fmt.Errorf("replace %q: %w", p, err)
	}
	delete(dir.entries, filetree.Base(p))
	u.lastNode = nil
	return nil
}

// link makes the hardlinks whose targets are there and returns the others. A target that is a directory is one only in
// this layer, or no target for any hardlink: the tree knows.
func (u *Unpacker) link() (waiting []pendingLink, err error) {
	for _, l := range u.links {
		target, ok := u.find(l.target)
		if !ok || l.path == l.target || target.dir != nil {
			waiting = append(waiting, l)
			continue
		}
		switch err := u.site.makeHardlink(l.path, l.target); {
		case errors.Is(err, unix.ENOENT):
			waiting = append(waiting, l) // the target is itself a link that waits
		case err != nil:
			return nil, err
		}
	}
	return waiting, nil
}
