package rootfs

import (
	"fmt"
	"maps"
	"slices"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Finish completes the directory once it is known what the layer lies on: below is the merged view of the layers below,
// merged that with this layer applied. It makes the whiteouts that hide something, and gives all directories the metadata
// that they have in merged: overlayfs shows the topmost directory's, also where the layer itself said nothing of it.
//
// The error wraps [ErrEntangled] where the layer needs the files of the layers below.
func (u *Unpacker) Finish(below, merged *filetree.Tree) ([]Loss, error) {
	if err := u.crew.stop(); err != nil {
		return nil, err
	}
	waiting, err := u.link()
	if err != nil {
		return nil, err
	}
	if len(waiting) > 0 {
		return nil, fmt.Errorf("unpack hardlink %q to %q: %w", waiting[0].path, waiting[0].target, ErrEntangled)
	}
	if err := u.checkBelow(below); err != nil {
		return nil, err
	}
	if err := u.hide(below); err != nil {
		return nil, err
	}
	if err := u.settleDirs("", u.root, merged); err != nil {
		return nil, err
	}
	return u.site.losses, nil
}

// checkBelow finds what the layer meant to do to files of the layers below, and did to its own.
func (u *Unpacker) checkBelow(below *filetree.Tree) error {
	for _, p := range u.beforehand {
		if n, ok := below.Lookup(p); ok && !n.IsDir() {
			return fmt.Errorf("unpack %q: is a %s below: %w", p, n.Type(), ErrEntangled)
		}
	}
	for _, p := range u.lateTargets {
		if _, _, err := below.Resolve(p, filetree.KeepLast); err == nil {
			return fmt.Errorf("unpack a hardlink to %q: %w", p, ErrEntangled)
		}
	}
	return nil
}

// hide makes the layer's deletions. They are about the layers below alone, wherever the layer names them: what it deletes
// and makes anew is there, and a directory made anew is opaque.
func (u *Unpacker) hide(below *filetree.Tree) error {
	for _, p := range u.opaque {
		if p == "" {
			return fmt.Errorf("unpack the root directory: it hides all below: %w", ErrEntangled)
		}
		if err := u.hideBelow(p, below); err != nil {
			return err
		}
	}
	var missing []string
	for _, p := range u.whiteouts {
		switch x, ok := u.find(p); {
		case p == "":
			return fmt.Errorf("unpack a whiteout of the root directory")
		case !ok:
			missing = append(missing, p)
		case x.dir != nil:
			x.dir.hides = hidesLower
		}
	}
	// Only now is it known which directories are opaque. A directory goes before what is in it, which needs no more.
	slices.SortFunc(missing, filetree.Compare)
	for _, p := range missing {
		if err := u.whiteOut(p, below); err != nil {
			return err
		}
	}
	return nil
}

func (u *Unpacker) hideBelow(p string, below *filetree.Tree) error {
	real, n, err := below.Resolve(p, filetree.KeepLast)
	switch {
	case err != nil || !n.IsDir():
		return nil // nothing there to hide
	case real != p:
		return fmt.Errorf("unpack opaque directory %q: is %q below: %w", p, real, ErrEntangled)
	}
	d, err := u.parent(filetree.Join(p, "x"))
	if err != nil {
		return nil // the layer made it something else, which hides as well
	}
	d.hides = hidesLower
	return nil
}

// whiteOut makes a whiteout where it hides something. Elsewhere overlayfs would show it: it looks for whiteouts only in
// directories that it merges.
func (u *Unpacker) whiteOut(p string, below *filetree.Tree) error {
	real, _, err := below.Resolve(p, filetree.KeepLast)
	switch {
	case err != nil:
		return nil
	case real != p:
		return fmt.Errorf("unpack whiteout %q: is %q below: %w", p, real, ErrEntangled)
	case u.hidden(p):
		return nil
	}
	dir, err := u.parent(p)
	if err != nil {
		return nil // the layer made a parent something else
	}
	name := filetree.Base(p)
	if _, ok := dir.entries[name]; ok {
		return nil // named twice
	}
	if err := u.site.makeWhiteout(p); err != nil {
		return err
	}
	dir.put(name, unpacked{kind: filetree.Whiteout})
	return nil
}

// hidden says whether one of the directories above p, as the layer has them, hides p's lower layers already.
func (u *Unpacker) hidden(p string) bool {
	for at := filetree.Parent(p); at != ""; at = filetree.Parent(at) {
		x, ok := u.find(at)
		if ok && (x.dir == nil || x.dir.hides == hidesLower) {
			return true
		}
	}
	return false
}

// settleDirs sets the metadata of a directory after that of all directories below it.
func (u *Unpacker) settleDirs(p string, d *unpackedDir, merged *filetree.Tree) error {
	for _, name := range slices.Sorted(maps.Keys(d.entries)) {
		if sub := d.entries[name].dir; sub != nil {
			if err := u.settleDirs(filetree.Join(p, name), sub, merged); err != nil {
				return err
			}
		}
	}
	n, ok := merged.Lookup(p)
	if !ok || !n.IsDir() {
		return fmt.Errorf("unpack directory %q: is none in the merged tree: %w", p, ErrEntangled)
	}
	e := n.Entry(p)
	return u.site.settleDir(&e, d.hides)
}
