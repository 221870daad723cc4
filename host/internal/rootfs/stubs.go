package rootfs

import (
	"errors"
	"fmt"
	"slices"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Target is where something will be mounted in a rootfs.
type Target struct {
	Path string        // as users write it
	Type filetree.Type // Directory, or Regular for anything else
}

// Stubs is the outcome of [MakeStubs].
type Stubs struct {
	// Targets are the places to mount on, in the order asked for: clean paths without symlinks that exist in the rootfs
	// once the stubs are part of it.
	Targets []string
	// Made says whether the directory holds anything: whether it has to be mounted at all.
	Made bool
}

// MakeStubs makes mount targets that a tree lacks, in an existing, empty directory that is to be the topmost of the lower
// layers: so a process's own directory holds nothing but its own changes. Besides the empty files and directories the
// directory holds their parents, looking as they do in the tree.
//
// Targets are resolved as the kernel would inside the rootfs, a link to a missing file leading to where that would be. A
// target below another's is found there; what is mounted on the other hides it, so that is for the caller to order.
func MakeStubs(dir string, tree *filetree.Tree, targets []Target, opts Options) (Stubs, error) {
	p := stubPlan{edited: tree, needed: map[string]bool{}}
	resolved, err := p.targets(targets)
	stubs := Stubs{Targets: resolved}
	if err != nil {
		return Stubs{}, err
	}
	if len(p.needed) == 0 {
		return stubs, nil
	}
	stubs.Made = true
	if err := p.write(dir, opts); err != nil {
		return Stubs{}, fmt.Errorf("make mount targets: %w", err)
	}
	return stubs, nil
}

// ResolveTargets says where mount targets are in a tree, or would be if they were made, as [MakeStubs] does.
func ResolveTargets(tree *filetree.Tree, targets []Target) ([]string, error) {
	p := stubPlan{edited: tree, needed: map[string]bool{}}
	return p.targets(targets)
}

// MakeUpper gives an existing, empty directory the looks of the tree's root directory, which it is going to cover as an
// overlay's upper directory.
func MakeUpper(dir string, tree *filetree.Tree, opts Options) (err error) {
	s, err := openSite(dir, opts)
	if err != nil {
		return fmt.Errorf("make an upper directory: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	e := tree.Root().Entry("")
	return s.settleDir(&e, mergesLower)
}

// stubPlan collects what is missing.
type stubPlan struct {
	edited *filetree.Tree
	needed map[string]bool // paths of the edited tree that the stub directory has to have
}

func (p *stubPlan) targets(targets []Target) ([]string, error) {
	all := make([]string, 0, len(targets))
	for _, t := range targets {
		at, err := p.target(t)
		if err != nil {
			return nil, fmt.Errorf("prepare the mount target %q: %w", t.Path, err)
		}
		all = append(all, at)
	}
	return all, nil
}

func (p *stubPlan) target(t Target) (string, error) {
	at, n, err := p.resolve(t.Path)
	switch {
	case err != nil:
		return "", err
	case at == "":
		return "", errors.New("nothing can be mounted on the root directory")
	case n == nil:
		return at, p.add(at, t.Type)
	case t.Type == filetree.Directory && !n.IsDir():
		return "", fmt.Errorf("%q is a %s, and a directory shall be mounted there", at, n.Type())
	case t.Type != filetree.Directory && n.IsDir():
		return "", fmt.Errorf("%q is a directory, and a file shall be mounted there", at)
	}
	return at, nil
}

// resolve finds a target, or with a nil node the place where it is to be made.
func (p *stubPlan) resolve(path string) (string, *filetree.Node, error) {
	// The missing part of a path may hold "..", which leads back to what exists: hence more than one round.
	for range 8 {
		at, n, err := p.edited.Resolve(path, filetree.FollowLast)
		if err == nil {
			return at, n, nil
		}
		if !errors.Is(err, filetree.ErrNotExist) {
			return "", nil, err
		}
		if at == path {
			return at, nil, nil
		}
		path = at
	}
	return "", nil, filetree.ErrTooManyLinks
}

// add makes a missing target in the edited tree.
func (p *stubPlan) add(at string, typ filetree.Type) error {
	e := p.edited.Edit()
	mode := uint16(0o644)
	if typ == filetree.Directory {
		mode = 0o755
	}
	if err := e.Put(filetree.Entry{Path: at, Type: typ, Mode: mode}, nil, filetree.Ref{}); err != nil {
		return err
	}
	p.edited = e.Tree()
	for ; at != ""; at = filetree.Parent(at) {
		p.needed[at] = true
	}
	return nil
}

func (p *stubPlan) write(dir string, opts Options) (err error) {
	s, err := openSite(dir, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	paths := []string{""}
	for at := range p.needed {
		paths = append(paths, at)
	}
	slices.SortFunc(paths, filetree.Compare)
	var dirs []filetree.Entry
	for _, at := range paths {
		n, ok := p.edited.Lookup(at)
		if !ok {
			return fmt.Errorf("%q: %w", at, filetree.ErrNotExist)
		}
		e := n.Entry(at)
		switch {
		case !n.IsDir():
			err = s.makeSmall(&e, nil)
		case at != "":
			err = s.makeDir(at)
		}
		if err != nil {
			return err
		}
		if n.IsDir() {
			dirs = append(dirs, e)
		}
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := s.settleDir(&dirs[i], mergesLower); err != nil {
			return err
		}
	}
	return nil
}
