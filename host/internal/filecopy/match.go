package filecopy

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/moby/buildkit/util/suggest"

	"github.com/trowel-build/trowel/host/internal/filecopy/pattern"
	"github.com/trowel-build/trowel/host/internal/filetree"
)

// MissingError says that a source path does not exist.
type MissingError struct {
	Path string // as the instruction writes it, or the symlink that a wildcard matched
	In   string // the source's name
	Hint string // what may help; can be empty
}

// Error implements error.
func (e *MissingError) Error() string {
	s := fmt.Sprintf("%q: not found", e.Path)
	if e.In != "" {
		s += " in " + e.In
	}
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// match is one file or directory that a source path names.
type match struct {
	path string // in the tree, without symlinks
	name string // as it was named or matched
	node *filetree.Node
}

// match finds what a path with wildcards names, in lexical order. Symlinks are followed inside the tree: those in the part
// without wildcards, and those that are matched.
func (s *Source) match(p string) ([]match, error) {
	clean := filetree.Clean(p)
	elements := strings.Split(clean, "/")
	plain := 0
	for plain < len(elements) && !pattern.HasWildcard(elements[plain]) {
		plain++
	}
	if plain == len(elements) {
		m, err := s.find(clean, filetree.FollowLast)
		if err != nil {
			return nil, err
		}
		return []match{m}, nil
	}
	for _, e := range elements[plain:] {
		if err := checkPattern(e); err != nil {
			return nil, fmt.Errorf("copy %q: %w", p, err)
		}
	}
	dir, err := s.find(strings.Join(elements[:plain], "/"), filetree.FollowLast)
	if err != nil {
		return nil, err
	}
	var found []match
	for _, name := range expand(dir.node, dir.path, elements[plain:]) {
		m, err := s.find(name, filetree.FollowLast)
		if err != nil {
			return nil, err
		}
		found = append(found, m)
	}
	return found, nil
}

// find finds what a plain path names.
func (s *Source) find(p string, follow filetree.Follow) (match, error) {
	real, node, err := s.Tree.Resolve(p, follow)
	if err != nil && strings.Contains(p, `\`) {
		// What was escaped to be no wildcard.
		if r, n, e := s.Tree.Resolve(pattern.Unescape(p), follow); e == nil {
			return match{path: r, name: pattern.Unescape(p), node: n}, nil
		}
	}
	switch {
	case errors.Is(err, filetree.ErrNotExist), errors.Is(err, filetree.ErrNotDirectory):
		return match{}, &MissingError{Path: p, In: s.Name, Hint: s.hint(p)}
	case err != nil:
		return match{}, fmt.Errorf("copy %w", err)
	}
	return match{path: real, name: p, node: node}, nil
}

// findBelow makes sure that a plain path exists below a directory without following any symlink.
func (s *Source) findBelow(dir match, p string) error {
	p = pattern.Unescape(p)
	node := dir.node
	for name := range strings.SplitSeq(p, "/") {
		next := node.Child(name)
		if next == nil && node.Type() == filetree.Symlink {
			hint := fmt.Sprintf("%q is a symlink, and --parents follows none", node.Name())
			return &MissingError{Path: filetree.Join(dir.name, p), In: s.Name, Hint: hint}
		}
		if next == nil {
			path := filetree.Join(dir.name, p)
			return &MissingError{Path: path, In: s.Name, Hint: s.hint(path)}
		}
		node = next
	}
	return nil
}

// expand walks below a directory and yields the paths that the elements of a pattern match. No symlink is followed.
func expand(n *filetree.Node, at string, elements []string) []string {
	var found []string
	for c := range n.Children() {
		if ok, err := path.Match(elements[0], c.Name()); err != nil || !ok {
			continue
		}
		p := filetree.Join(at, c.Name())
		if len(elements) == 1 {
			found = append(found, p)
		} else {
			found = append(found, expand(c, p, elements[1:])...)
		}
	}
	return found
}

// hint says what may be wrong with a path that does not exist.
func (s *Source) hint(p string) string {
	at := ""
	for name := range strings.SplitSeq(p, "/") {
		next := filetree.Join(at, name)
		if _, _, err := s.Tree.Resolve(next, filetree.FollowLast); err == nil {
			at = next
			continue
		}
		if _, n, err := s.Tree.Resolve(next, filetree.KeepLast); err == nil {
			return fmt.Sprintf("%q is a symlink to %q, which does not exist there", next, n.Link())
		}
		_, dir, err := s.Tree.Resolve(at, filetree.FollowLast)
		if err != nil || !dir.IsDir() {
			return fmt.Sprintf("%q is not a directory", at)
		}
		if near, ok := nearest(dir, name); ok {
			return fmt.Sprintf("did you mean %q?", filetree.Join(at, near))
		}
		return ""
	}
	return ""
}

// nearest is the name in a directory that is most like another.
func nearest(dir *filetree.Node, name string) (string, bool) {
	var names []string
	for c := range dir.Children() {
		if strings.EqualFold(c.Name(), name) {
			return c.Name(), true
		}
		names = append(names, c.Name())
	}
	if len(name) <= 2 { // all short names are alike
		return "", false
	}
	return suggest.Search(name, names, true)
}

// checkPattern refuses a malformed wildcard, which would match nothing.
func checkPattern(p string) error {
	if _, err := path.Match(p, ""); err != nil {
		return fmt.Errorf("malformed wildcard; write %q for the character itself", `\[`)
	}
	return nil
}
