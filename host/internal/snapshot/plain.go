package snapshot

import (
	"context"
	"fmt"

	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// Changes lists what was changed in the directory since the record was taken, as [Upper] does, and returns the record of what
// it holds now. lower is the tree that the directory held. Only files of which the kernel tells something else than before
// are read. shifts are those that the executor made meanwhile.
//
// The directory should stay as it is as long as the changes' files are in use. Where others write to it all the same, a file
// that vanishes before it was read counts as deleted, one that grows is cut off, and what changes after this has returned fails
// whoever reads it: it is no other file by mistake.
func (r *Record) Changes(ctx context.Context, lower *filetree.Tree, shifts []executor.Shift, opts Options) ([]filetree.Change, *Record, error) {
	changes, after, err := r.changes(ctx, lower, shifts, opts)
	if err != nil {
		return nil, nil, fmt.Errorf("find what a process changed: %w", err)
	}
	return changes, after, nil
}

func (r *Record) changes(ctx context.Context, lower *filetree.Tree, shifts []executor.Shift, opts Options) ([]filetree.Change, *Record, error) {
	source, err := rootfs.OpenLiveSource(r.dir)
	if err != nil {
		return nil, nil, err
	}
	w := newWalker(r, opts)
	if len(shifts) > 0 {
		w.moved = make(map[string]shift, len(shifts))
		for _, s := range shifts {
			w.moved[s.Path] = shift{s.Old.Nano(), s.New.Nano()}
		}
	}
	root := &found{}
	if err := w.run(ctx, root); err != nil {
		_ = source.Close()
		return nil, nil, err
	}
	d := differ{opts: opts, source: source, links: map[inode]*linkGroup{}}
	d.dir("", root, lower.Root(), mergedWithLower)
	if err := d.compareContents(ctx); err != nil {
		_ = source.Close()
		return nil, nil, err
	}
	changes := d.list()
	if len(changes) == 0 {
		return nil, w.after, source.Close()
	}
	return changes, w.after, nil
}

// Refresh records anew what was changed on purpose: what is at the paths, and all that is below them. The directories above
// must be in the record, or be among the paths.
func (r *Record) Refresh(ctx context.Context, paths []string, opts Options) (*Record, error) {
	w := newWalker(r, opts)
	w.only = map[string]bool{}
	for _, p := range paths {
		for ; p != ""; p = filetree.Parent(p) {
			w.only[p] = true
		}
	}
	if err := w.run(ctx, nil); err != nil {
		return nil, fmt.Errorf("record what is in %q: %w", r.dir, err)
	}
	return w.after, nil
}
