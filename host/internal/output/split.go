package output

import (
	"fmt"
	"strings"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Split says whether the files for each platform are put into a directory of their own.
type Split string

// The values of platform-split.
const (
	SplitSeveral Split = ""       // where there is an index
	SplitAlways  Split = "always" // platform-split=true
	SplitNever   Split = "never"  // platform-split=false
)

// Several says whether the build is for several platforms, or for one as if it were for several.
type Several bool

// PlatformTree is the files of the image for a platform, in the form "linux/arm64".
type PlatformTree struct {
	Platform string
	Tree     *filetree.Tree
}

// gather makes one tree of those of all platforms. What the spec takes as source is looked up in each.
func (s *Spec) gather(r Request) (*filetree.Tree, error) {
	split := s.Split == SplitAlways || s.Split == SplitSeveral && bool(r.Several)
	if !split && len(r.Trees) == 1 {
		return r.Trees[0].Tree, nil
	}
	e := filetree.Empty().Edit()
	from := map[string]string{} // the platform that a file is from, where all share a directory
	for _, t := range r.Trees {
		dir := ""
		if split {
			dir = strings.ReplaceAll(t.Platform, "/", "_")
		}
		top, _, err := Files{Tree: t.Tree, Root: s.Source}.root()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Platform, err)
		}
		if err := graft(e, dir, t, top, from); err != nil {
			return nil, err
		}
	}
	s.Source = "" // it was followed
	return e.Tree(), nil
}

// graft puts the entries of the directory top of a tree into dir.
func graft(e *filetree.Editor, dir string, t PlatformTree, top string, from map[string]string) error {
	first := map[any]string{} // the first name of a file
	return t.Tree.Walk(top, func(p string, n *filetree.Node) (bool, error) {
		x := n.Entry(p)
		if p == top { // the platform's own, or that of whoever unpacks it
			x = filetree.Entry{Type: filetree.Directory, Mode: 0o755, ModTime: x.ModTime}
		}
		x.Path = filetree.Clean(dir + "/" + p[len(top):])
		if !n.IsDir() {
			if other, taken := from[x.Path]; taken {
				return false, fmt.Errorf("%q is in the images for %s and %s: drop platform-split=false", x.Path, other, t.Platform)
			}
			from[x.Path] = t.Platform
		}
		if name, linked := first[n.FileID()]; linked && !n.IsDir() {
			return false, e.Put(filetree.Entry{Path: x.Path, Type: filetree.Hardlink, Link: name}, nil, filetree.Ref{})
		}
		first[n.FileID()] = x.Path
		source, ref := n.Source(p)
		return true, e.Put(x, source, ref)
	})
}
