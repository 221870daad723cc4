package filetree

import "strings"

// Extract lists what a path of a tree leads to, symlinks followed, and all below it, under another name: the changes that
// make it in the root of an empty tree.
func (t *Tree) Extract(path, name string) ([]Change, error) {
	real, n, err := t.Resolve(path, FollowLast)
	if err != nil {
		return nil, err
	}
	d := differ{first: map[*inode]string{}}
	d.added(real, n)
	renamed := func(p string) string {
		if p == real {
			return name
		}
		return Join(name, strings.TrimPrefix(strings.TrimPrefix(p, real), "/"))
	}
	for i := range d.changes {
		c := &d.changes[i]
		if c.Path = renamed(c.Path); c.Type == Hardlink {
			c.Link = renamed(c.Link)
		}
	}
	return d.changes, nil
}
