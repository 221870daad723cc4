package filetree

import (
	"fmt"
	"slices"
)

// WithParents completes a list of changes with the parent directories that it does not name, as they are in the tree that
// the changes are for: layers hold the parents of all that they hold. A parent that the tree lacks is a directory of mode
// 0755, owned by root. The root directory is no entry of a layer unless it is changed.
//
// The paths have to be free of symlinks, as [Tree.Resolve] gives them; each occurs once. The returned list is sorted by
// [Compare], and may share the given one's array.
func WithParents(changes []Change, tree *Tree) ([]Change, error) {
	byPath := func(a, b Change) int { return Compare(a.Path, b.Path) }
	if !slices.IsSortedFunc(changes, byPath) {
		changes = slices.Clone(changes)
		slices.SortFunc(changes, byPath)
	}
	out := make([]Change, 0, len(changes)+16)
	// open is the directories on the way to the last path of out, which are those that out has last.
	var open []string
	for _, c := range changes {
		for len(open) > 0 && !isBelow(open[len(open)-1], c.Path) {
			open = open[:len(open)-1]
		}
		last := ""
		if len(open) > 0 {
			last = open[len(open)-1]
		}
		missing, err := tree.missingParents(last, c.Path)
		if err != nil {
			return nil, err
		}
		for _, m := range missing {
			out = append(out, m)
			open = append(open, m.Path)
		}
		out = append(out, c)
		if c.Type == Directory && c.Path != "" {
			open = append(open, c.Path)
		}
	}
	return out, nil
}

// missingParents makes changes of the directories between one and a path below it.
func (t *Tree) missingParents(from, p string) ([]Change, error) {
	var missing []Change
	for at := Parent(p); at != from && at != ""; at = Parent(at) {
		e := Entry{Path: at, Type: Directory, Mode: 0o755}
		if n, ok := t.Lookup(at); ok {
			if !n.IsDir() {
				return nil, fmt.Errorf("%q: its parent %q is a %s: %w", p, at, n.Type(), ErrNotDirectory)
			}
			e = n.Entry(at)
		}
		missing = append(missing, Change{Entry: e})
	}
	slices.Reverse(missing)
	return missing, nil
}

// isBelow says whether p is in the directory dir, at whatever depth.
func isBelow(dir, p string) bool {
	return len(p) > len(dir) && p[:len(dir)] == dir && p[len(dir)] == '/'
}
