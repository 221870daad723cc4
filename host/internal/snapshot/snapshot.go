// Package snapshot finds what a process changed in a rootfs.
//
// [Upper] reads that from an overlay's upper directory, at a cost of what was changed, and compares it with the tree that
// the process started from: overlayfs copies whole files up for a changed bit, and may copy what is not changed at all.
//
// Where the rootfs is one plain directory, [Take] records what it holds, and [Record.Changes] compares that with what it
// holds later: it looks at every file, and reads those that look otherwise than before.
package snapshot

import (
	"context"
	"fmt"
	"runtime"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/identity"
	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// Options say how the upper directory is to be read. The zero value is right for root without a user namespace.
type Options struct {
	Form   rootfs.Form
	Owners rootfs.Owners
	// Recorded are owners that package identity noted of what can hold no [identity.Attribute], by path. It is nil where
	// the kernel has all users, and where such an attribute means nothing.
	Recorded map[string]identity.Owner
	// Workers is how many goroutines read; 0 means one for each processor.
	Workers int
}

func (o Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// Upper lists what an overlay's upper directory changes in the tree lower: sorted by [filetree.Compare], each path once,
// each with all its parent directories. Applied to lower by [filetree.Tree.ApplyChanges], the list gives the new tree. It is
// empty when nothing changed. Nothing may write to the directory meanwhile, nor as long as the changes' files are in use.
//
// What counts as a change follows BuildKit, with the exceptions that are noted here:
//
//   - A directory changes by its mode, owner and capabilities, not by its time. The root directory's own metadata is not
//     part of a layer.
//   - Anything else changes by these, its size, content, target or device, and its time in whole seconds.
//   - A directory that was deleted and made anew has a whiteout for each name that is gone, and is never marked as opaque.
//   - Where a file takes a directory's place or the reverse there is no whiteout: whoever applies an OCI layer removes what
//     is of another type first.
//   - Names of one file are hardlinks in the list, the first by order being the file. If one of them is a change, all are.
//   - A socket is never part of a layer. Where one takes another file's place, that file is gone: BuildKit would let it
//     come back.
func Upper(ctx context.Context, dir string, lower *filetree.Tree, opts Options) ([]filetree.Change, error) {
	source, err := rootfs.OpenSource(dir)
	if err != nil {
		return nil, fmt.Errorf("read what a process changed: %w", err)
	}
	s := scanner{opts: opts, spare: make(chan struct{}, opts.workers()), marks: marksOf(opts.Form)}
	root, err := s.scan(ctx, dir)
	if err != nil {
		_ = source.Close()
		return nil, fmt.Errorf("read what a process changed: %w", err)
	}
	d := differ{opts: opts, source: source, links: map[inode]*linkGroup{}}
	d.dir("", root, lower.Root(), mergedWithLower)
	if err := d.compareContents(ctx); err != nil {
		_ = source.Close()
		return nil, fmt.Errorf("read what a process changed: %w", err)
	}
	changes := d.list()
	if len(changes) == 0 {
		return nil, source.Close()
	}
	return changes, nil
}
