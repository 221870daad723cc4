package filecopy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/patternmatcher"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filecopy/pattern"
	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Spec is a COPY or ADD whose sources are at hand.
type Spec struct {
	Sources []Source
	// Dest is absolute. A trailing "/" or "/." says that it is a directory.
	Dest string
	// Owner is --chown; nil keeps the owners that the sources have.
	Owner *Owner
	// Mode is --chmod; the zero value keeps modes.
	Mode Mode
	// Exclude are patterns of .dockerignore's language, relative to each directory that is copied.
	Exclude []string
	Layout  effect.Layout
	Overlay effect.Overlay
	// Archives are the sources that are unpacked instead of copied; nil for COPY.
	Archives *Archives
	// ModTime, in nanoseconds since the epoch, is given to what no source has: directories that have to be made, and
	// inline files.
	ModTime int64
}

// Source is files of one tree, or inline files.
type Source struct {
	// Name says where Tree comes from, for messages: "the build context", `stage "build"`.
	Name string
	Tree *filetree.Tree
	// Paths as the instruction writes them, below the tree's root, with wildcards.
	Paths  []string
	Inline []effect.File
	// Unpack says whether files that are archives are found by [FindArchives].
	Unpack effect.Unpack
}

// Owner is who shall own files.
type Owner struct{ UID, GID uint32 }

// Plan is what the copy adds to dst: the entries of its layer, with everything in the order of [filetree.Compare] and all
// parents named, unchanged ones as dst has them. dst.ApplyChanges(changes) is the new tree. Nothing is listed when
// nothing but times of directories would change, and the root directory never is, as in BuildKit's layers.
//
// A source that does not exist is a [*MissingError].
func Plan(dst *filetree.Tree, spec Spec) ([]filetree.Change, error) {
	p, err := newPlanner(dst, spec)
	if err != nil {
		return nil, err
	}
	for i := range spec.Sources {
		s := &spec.Sources[i]
		for _, path := range s.Paths {
			if err := p.source(s, path); err != nil {
				return nil, err
			}
		}
		if err := p.inline(s.Inline); err != nil {
			return nil, err
		}
	}
	return p.result()
}

// planner is a plan being made.
type planner struct {
	canvas
	spec    Spec
	exclude *patternmatcher.PatternMatcher
	// files are the destinations that were named for a single file and got one, with the file's name.
	files map[string]string
}

func newPlanner(dst *filetree.Tree, spec Spec) (*planner, error) {
	if !strings.HasPrefix(spec.Dest, "/") {
		return nil, fmt.Errorf("copy to %q: the destination is not absolute", spec.Dest)
	}
	// As BuildKit: with --chmod, --link has no effect.
	if spec.Overlay == effect.OverlayLinked && !spec.Mode.set() {
		dst = filetree.Empty()
	}
	p := &planner{canvas: newCanvas(dst, spec.ModTime), spec: spec, files: map[string]string{}}
	for _, exclude := range spec.Exclude {
		m, err := patternmatcher.New([]string{strings.TrimPrefix(strings.TrimSpace(exclude), "!")})
		if err == nil {
			_, err = m.MatchesOrParentMatches("x") // compiles it
		}
		if err != nil {
			return nil, fmt.Errorf("bad pattern --exclude=%s: %w", exclude, err)
		}
	}
	if len(spec.Exclude) > 0 {
		var err error
		if p.exclude, err = patternmatcher.New(spec.Exclude); err != nil {
			return nil, fmt.Errorf("bad pattern --exclude=%s: %w", strings.Join(spec.Exclude, " --exclude="), err)
		}
	}
	return p, nil
}

// source copies what one source path names.
func (p *planner) source(s *Source, path string) error {
	if p.spec.Layout == effect.LayoutParents {
		return p.parents(s, path)
	}
	matches, err := s.match(path)
	if err != nil {
		return err
	}
	for _, m := range matches {
		if a := p.spec.Archives.find(s.Tree, m.path); a != nil {
			if err := p.unpack(a); err != nil {
				return fmt.Errorf("unpack %q to %q: %w", m.name, p.spec.Dest, err)
			}
			continue
		}
		if err := p.place(s, m, nil); err != nil {
			return fmt.Errorf("copy %q to %q: %w", m.name, p.spec.Dest, err)
		}
	}
	return nil
}

// parents copies what one source path names and keeps the directories of the path: --parents.
func (p *planner) parents(s *Source, path string) error {
	root, below, pivot := strings.Cut(path, "/./")
	if !pivot {
		root, below = "", path
	}
	below = filetree.Clean(below)
	if below == "" { // "." or "a/./.", of which BuildKit copies nothing
		below = "**"
	}
	if err := checkPattern(below); err != nil {
		return fmt.Errorf("copy %q: %w", path, err)
	}
	roots, err := s.match(root)
	if err != nil {
		return err
	}
	if !pattern.HasWildcard(root) && !pattern.HasWildcard(below) {
		if err := s.findBelow(roots[0], below); err != nil {
			return err
		}
	}
	for _, m := range roots {
		// A pivot that is a file is copied itself, whatever the pattern says, as BuildKit does.
		if err := p.place(s, m, &below); err != nil {
			return fmt.Errorf("copy %q to %q: %w", path, p.spec.Dest, err)
		}
	}
	return nil
}

// inline copies files that the Dockerfile holds.
func (p *planner) inline(files []effect.File) error {
	if len(files) == 0 {
		return nil
	}
	source := &inlineFiles{}
	for _, f := range files {
		tree, name, err := source.tree(f, p.spec.ModTime)
		if err != nil {
			return err
		}
		node, _ := tree.Lookup(name)
		if err := p.place(&Source{Tree: tree}, match{path: name, name: f.Name, node: node}, nil); err != nil {
			return fmt.Errorf("copy <<%s to %q: %w", f.Name, p.spec.Dest, err)
		}
	}
	return nil
}

// place copies one file, or a directory's content, to the destination. include, if given, is what of the directory is
// copied.
func (p *planner) place(s *Source, m match, include *string) error {
	to, err := p.target(m)
	if err != nil {
		return err
	}
	c := copier{planner: p, files: map[any]int{}}
	if err := c.prepare(s.Tree, m, include); err != nil {
		return err
	}
	return c.copy(item{node: m.node, from: m.path, to: to}, patternmatcher.MatchInfo{}, patternmatcher.MatchInfo{})
}

// target makes the directories that the destination needs and says where a match goes.
func (p *planner) target(m match) (string, error) {
	dest := filetree.Clean(p.spec.Dest) // by text, before symlinks are followed
	ensure := dest
	if !namesDirectory(p.spec.Dest) {
		ensure = filetree.Parent(dest)
	}
	made := maker{perm: p.spec.Mode.parents(), owner: p.spec.Owner}
	at, err := p.resolve("", ensure)
	if err == nil {
		err = p.mkdirAll(at, made)
	}
	if err != nil {
		return "", err
	}
	to, err := p.resolve("", dest)
	if err != nil {
		return "", err
	}
	there, exists := p.lookup(to)
	if m.node.IsDir() {
		if !exists {
			return to, p.mkdirAll(to, made)
		}
		return to, nil
	}
	if exists && there.Type == filetree.Directory {
		return filetree.Join(to, baseName(m.name)), nil
	}
	if before, ok := p.files[to]; ok {
		return "", fmt.Errorf("%q was already copied there; to copy several files to a directory, end it with \"/\"", before)
	}
	p.files[to] = m.name
	return to, p.mkdirAll(filetree.Parent(to), made)
}

// namesDirectory says whether a destination as written can only be a directory.
func namesDirectory(dest string) bool {
	return strings.HasSuffix(dest, "/") || strings.HasSuffix(dest, "/.")
}

func baseName(p string) string { return filetree.Base(filetree.Clean(p)) }

// errWhiteoutName refuses a name that a layer could not hold.
var errWhiteoutName = errors.New(`names that start with ".wh." mean a deletion in a layer; rename it or leave it out`)

func checkName(p string) error {
	for name := range strings.SplitSeq(p, "/") {
		if strings.HasPrefix(name, ".wh.") {
			return fmt.Errorf("%q: %w", p, errWhiteoutName)
		}
	}
	return nil
}
