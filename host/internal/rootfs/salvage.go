package rootfs

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Used is a directory that [UnpackMerged] made of the same layers, and that somebody has changed since.
type Used struct {
	Dir string
	// Untouched says of a path whether what is there, and all below it, is as it was made: content, metadata, and names of a
	// file elsewhere. Of what was not made, as a device that is lost, it may say anything.
	Untouched func(path string) bool
}

// Salvage is [UnpackMerged] where most of the files are there already: what is untouched in a used directory moves over, each
// time as much as one rename can move. Everything else is made anew, directories above all, so that nothing which somebody gave
// to one of them comes along. Layers are read only where a file is wanted of them. What is left in the used directory is to be
// removed, also after an error. Both directories are on one file system, and nobody may change them meanwhile.
func Salvage(ctx context.Context, dir string, used Used, layers []Layer, opts Options) (losses []Loss, err error) {
	root, err := openDir(used.Dir)
	if err != nil {
		return nil, fmt.Errorf("unpack layers: %w", err)
	}
	s := &salvage{used: &site{root: root, opts: opts}, untouched: used.Untouched}
	defer func() { err = errors.Join(err, s.used.close()) }()
	return unpackMerged(ctx, dir, layers, opts, s)
}

// salvage is where a merge finds what it need not make.
type salvage struct {
	used      *site
	untouched func(string) bool
}

// take moves what is at a path, if it is as it is to be. The root directory itself is made anew.
func (s *salvage) take(p string, into *site) (taken bool, err error) {
	if s == nil || p == "" || !s.untouched(p) {
		return false, nil
	}
	from, name, err := s.used.parent(p)
	if err != nil {
		return false, err
	}
	to, _, err := into.parent(p)
	if err != nil {
		return false, err
	}
	switch err := unix.Renameat2(from, name, to, name, unix.RENAME_NOREPLACE); {
	case errors.Is(err, unix.ENOENT):
		return false, nil // a device that is lost is so again
	case err != nil:
		return false, fmt.Errorf("move %q: %w", p, err)
	}
	return true, nil
}
