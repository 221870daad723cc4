package rootfs

import (
	"errors"
	"fmt"
	"time"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// kernelDirs are what a process always has mounted.
var kernelDirs = []string{"dev", "proc", "sys"}

// MakeKernelDirs makes /dev, /proc and /sys in an upper directory where a tree has nothing of that name, and gives the tree
// that is seen then. Unlike other mount targets they become part of what the process changed: runc leaves them in the
// image, where many programs that are built from scratch count on them.
func MakeKernelDirs(upper string, tree *filetree.Tree, made time.Time, opts Options) (_ *filetree.Tree, err error) {
	missing := MissingKernelDirs(tree, made)
	if len(missing) == 0 {
		return tree, nil
	}
	seen, err := tree.ApplyChanges(missing)
	if err != nil {
		return nil, err
	}
	s, err := openSite(upper, opts)
	if err != nil {
		return nil, fmt.Errorf("make the kernel's directories: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for i := range missing {
		if err := errors.Join(s.makeDir(missing[i].Path), s.settleDir(&missing[i].Entry, hidesLower)); err != nil {
			return nil, fmt.Errorf("make the kernel's directories: %w", err)
		}
	}
	root := tree.Root().Entry("") // the site took the looks that MakeUpper gave it
	if err := s.settleDir(&root, mergesLower); err != nil {
		return nil, fmt.Errorf("make the kernel's directories: %w", err)
	}
	return seen, nil
}

// MissingKernelDirs are the directories that [MakeKernelDirs] makes: where the root file system is a plain directory they are
// made in it before a process runs, and count as what it changed.
func MissingKernelDirs(tree *filetree.Tree, made time.Time) []filetree.Change {
	var missing []filetree.Change
	for _, p := range kernelDirs {
		if _, ok := tree.Lookup(p); !ok {
			missing = append(missing, filetree.Change{Entry: filetree.Entry{Path: p, Type: filetree.Directory, Mode: 0o755, ModTime: made.UnixNano()}})
		}
	}
	return missing
}
