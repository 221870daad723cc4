package filetree

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrNotExist says that a path does not exist in a tree.
	ErrNotExist = errors.New("no such file or directory")
	// ErrNotDirectory says that a path goes through something that is no directory.
	ErrNotDirectory = errors.New("not a directory")
	// ErrTooManyLinks says that resolving a path met more symlinks than the kernel follows.
	ErrTooManyLinks = errors.New("too many levels of symbolic links")
)

// maxLinks is Linux's limit on symlinks followed in one resolution, path_resolution(7).
const maxLinks = 40

// Follow says what [Tree.Resolve] does with a symlink in the last place.
type Follow int

// The ways to treat a last symlink.
const (
	FollowLast Follow = iota // as stat(2)
	KeepLast                 // as lstat(2)
)

// Resolve walks a path as the kernel would for a process whose root is the tree's: symlinks are followed, absolute ones
// from the root, and ".." does not leave it. It returns the clean path without symlinks and the node there.
//
// When the path does not exist the error wraps [ErrNotExist] and the returned path is where it would be: the part that
// exists, resolved, and the rest as written. Below a file the error wraps [ErrNotDirectory].
func (t *Tree) Resolve(p string, follow Follow) (string, *Node, error) {
	r := resolver{pending: strings.Split(p, "/"), chain: []*Node{&t.root}}
	if err := r.run(follow); err != nil {
		return Clean(strings.Join(append(r.names, r.pending...), "/")), nil, fmt.Errorf("%q: %w", p, err)
	}
	return strings.Join(r.names, "/"), r.node(), nil
}

// resolver is a walk in progress: chain holds the nodes from the root to where the walk is, names their names.
type resolver struct {
	pending []string
	chain   []*Node
	names   []string
	links   int
}

func (r *resolver) run(follow Follow) error {
	for len(r.pending) > 0 {
		if err := r.step(follow); err != nil {
			return err
		}
	}
	return nil
}

func (r *resolver) node() *Node { return r.chain[len(r.chain)-1] }

func (r *resolver) step(follow Follow) error {
	name := r.pending[0]
	at := r.node()
	switch name {
	case "", ".":
		// A trailing slash asks for a directory.
		if !at.IsDir() && name == "." {
			return ErrNotDirectory
		}
		r.pending = r.pending[1:]
		return nil
	case "..":
		if !at.IsDir() {
			return ErrNotDirectory
		}
		r.pending = r.pending[1:]
		if len(r.names) > 0 {
			r.chain, r.names = r.chain[:len(r.chain)-1], r.names[:len(r.names)-1]
		}
		return nil
	}
	if !at.IsDir() {
		return ErrNotDirectory
	}
	child := at.Child(name)
	if child == nil {
		return ErrNotExist
	}
	r.pending = r.pending[1:]
	if child.Type() == Symlink && (follow == FollowLast || len(r.pending) > 0) {
		return r.link(child.Link())
	}
	r.chain, r.names = append(r.chain, child), append(r.names, name)
	return nil
}

func (r *resolver) link(target string) error {
	if r.links++; r.links > maxLinks {
		return ErrTooManyLinks
	}
	if strings.HasPrefix(target, "/") {
		r.chain, r.names = r.chain[:1], r.names[:0]
	}
	r.pending = append(strings.Split(target, "/"), r.pending...)
	return nil
}
