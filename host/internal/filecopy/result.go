package filecopy

import (
	"maps"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// result makes the layer's entries of what was written.
func (c *canvas) result() ([]filetree.Change, error) {
	live := slices.DeleteFunc(c.strokes, func(s stroke) bool { return s.removed || s.Path == "" })
	c.strokes = nil
	order := func(a, b stroke) int { return filetree.Compare(a.Path, b.Path) }
	if !slices.IsSortedFunc(live, order) {
		slices.SortFunc(live, order)
	}
	live = c.dropTimes(live)
	changes := make([]filetree.Change, 0, len(live))
	first := map[int]string{}
	for _, s := range live {
		if last, ok := c.said[s.group]; ok {
			s.UID, s.GID, s.Mode, s.ModTime = last.UID, last.GID, last.Mode, last.ModTime
		}
		if name, linked := first[s.group]; linked {
			s.Type, s.Link, s.Size, s.Digest = filetree.Hardlink, name, 0, filetree.Digest{}
			s.Source, s.From = nil, filetree.Ref{}
		} else if s.group != 0 {
			first[s.group] = s.Path
		}
		changes = append(changes, s.Change)
	}
	return filetree.WithParents(append(changes, c.whiteouts(live)...), c.base)
}

// dropTimes leaves out directories of which nothing but the time would change, nor anything in them: BuildKit records none.
func (c *canvas) dropTimes(sorted []stroke) []stroke {
	kept := sorted[len(sorted):]
	at := len(sorted)
	next := ""
	for i := len(sorted) - 1; i >= 0; i-- {
		s := sorted[i]
		if !strings.HasPrefix(next, s.Path+"/") && c.unchanged(s) {
			continue
		}
		at--
		sorted[at], next = s, s.Path
		kept = sorted[at:]
	}
	return kept
}

// unchanged says whether a directory is in the base as it was written, but for its time.
func (c *canvas) unchanged(s stroke) bool {
	if s.Type != filetree.Directory {
		return false
	}
	n := c.below(s.Path)
	if n == nil || !n.IsDir() {
		return false
	}
	old := n.Entry(s.Path)
	return old.Mode == s.Mode && old.UID == s.UID && old.GID == s.GID && maps.Equal(old.Xattrs, s.Xattrs)
}

// whiteouts are the deletions in directories that were removed and made anew.
func (c *canvas) whiteouts(live []stroke) []filetree.Change {
	if len(c.cleared) == 0 {
		return nil
	}
	written := make(map[string]filetree.Type, len(live))
	for _, s := range live {
		written[s.Path] = s.Type
	}
	var gone []filetree.Change
	for p := range c.cleared {
		nested := false
		for at := filetree.Parent(p); at != "" && !nested; at = filetree.Parent(at) {
			_, nested = c.cleared[at]
		}
		if n, ok := c.base.Lookup(p); ok && !nested {
			gone = deletions(gone, p, n, written)
		}
	}
	return gone
}

// deletions lists what a directory of the base had and the one in its place has not.
func deletions(gone []filetree.Change, p string, n *filetree.Node, written map[string]filetree.Type) []filetree.Change {
	if written[p] != filetree.Directory {
		return gone // nothing is there now, which cannot be, or what replaces it hides all
	}
	for child := range n.Children() {
		q := filetree.Join(p, child.Name())
		if _, ok := written[q]; !ok {
			gone = append(gone, filetree.Change{Entry: filetree.Entry{Path: q, Type: filetree.Whiteout}})
			continue
		}
		gone = deletions(gone, q, child, written)
	}
	return gone
}
