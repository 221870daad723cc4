package filecopy

import (
	"errors"
	"fmt"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Symlink makes a symbolic link at path, with the parents that are missing. It replaces what is there unless that is a
// directory; symlinks on the way are followed inside the tree.
func Symlink(dst *filetree.Tree, path, target string, modTime int64) ([]filetree.Change, error) {
	fail := func(err error) ([]filetree.Change, error) {
		return nil, fmt.Errorf("make the symlink %q: %w", path, err)
	}
	clean := filetree.Clean(path)
	if clean == "" || target == "" {
		return fail(errors.New("it needs a path and a target"))
	}
	c := newCanvas(dst, modTime)
	parent, err := c.resolve("", filetree.Parent(clean))
	if err == nil {
		err = c.mkdirAll(parent, maker{perm: 0o755})
	}
	if err != nil {
		return fail(err)
	}
	changes, err := c.result()
	if err != nil {
		return fail(err)
	}
	below, err := dst.ApplyChanges(changes)
	if err != nil {
		return fail(err)
	}
	at := filetree.Join(parent, filetree.Base(clean))
	if n, ok := below.Lookup(at); ok && n.IsDir() {
		return fail(errors.New("a directory is there"))
	}
	link := filetree.Change{Entry: filetree.Entry{Path: at, Type: filetree.Symlink, Mode: 0o777, Link: target, ModTime: modTime}}
	return filetree.WithParents(append(changes, link), below)
}

// Remove removes what is at path, if anything is. A last symlink is removed itself; others are followed inside the tree.
func Remove(dst *filetree.Tree, path string) ([]filetree.Change, error) {
	at, _, err := dst.Resolve(filetree.Clean(path), filetree.KeepLast)
	switch {
	case errors.Is(err, filetree.ErrNotExist) || errors.Is(err, filetree.ErrNotDirectory):
		return nil, nil
	case err == nil && at == "":
		err = errors.New("it is the root directory")
	}
	if err != nil {
		return nil, fmt.Errorf("remove %q: %w", path, err)
	}
	return filetree.WithParents([]filetree.Change{{Entry: filetree.Entry{Path: at, Type: filetree.Whiteout}}}, dst)
}
