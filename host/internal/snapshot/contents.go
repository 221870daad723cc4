package snapshot

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// compareContents decides the files that differ in nothing but, perhaps, their content.
func (d *differ) compareContents(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(d.opts.workers())
	for _, c := range d.found {
		if c.state != undecided {
			continue
		}
		group.Go(func() error {
			digest, err := d.digest(ctx, c.change.From)
			if errors.Is(err, os.ErrNotExist) {
				c.vanish()
				return nil
			}
			if err != nil {
				return err
			}
			c.state = changed
			if digest == c.before.Entry("").Digest {
				c.state = unchanged
			}
			c.change.Digest, c.change.From.Digest = digest, digest
			return nil
		})
	}
	return group.Wait()
}

// vanish makes a whiteout of a file that the lower tree has and that is not there any more.
func (c *candidate) vanish() {
	c.state = changed
	c.change = filetree.Change{Entry: filetree.Entry{Path: c.change.Path, Type: filetree.Whiteout}}
}

func (d *differ) digest(ctx context.Context, ref filetree.Ref) (digest filetree.Digest, err error) {
	r, err := d.source.Open(ctx, ref)
	if err != nil {
		return filetree.Digest{}, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	h := sha256.New()
	buf := make([]byte, min(ref.Size+1, 256<<10))
	if _, err := io.CopyBuffer(h, &cancellable{r: r, cancelled: ctx.Err}, buf); err != nil {
		return filetree.Digest{}, fmt.Errorf("read content of %q: %w", ref.Path, err)
	}
	h.Sum(digest[:0])
	return digest, nil
}

// cancellable ends a long read when the build ends.
type cancellable struct {
	r         io.Reader
	cancelled func() error
}

func (c *cancellable) Read(b []byte) (int, error) {
	if err := c.cancelled(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

// list makes the list of changes: candidates that changed, and the directories that hold them.
func (d *differ) list() []filetree.Change {
	for _, g := range d.links {
		g.settle()
	}
	var kept []*candidate
	for i := len(d.found) - 1; i >= 0; i-- {
		c := d.found[i]
		if c.state == changed || c.change.Type == filetree.Directory && len(kept) > 0 && below(c.change.Path, kept[len(kept)-1].change.Path) {
			kept = append(kept, c)
		}
	}
	changes := make([]filetree.Change, 0, len(kept))
	for i := len(kept) - 1; i >= 0; i-- {
		changes = append(changes, kept[i].change)
	}
	return changes
}

// below says whether p is in the directory dir, at whatever depth.
func below(dir, p string) bool {
	return len(p) > len(dir) && p[len(dir)] == '/' && p[:len(dir)] == dir
}

// settle makes one list entry the file and the others its hardlinks, or drops them all. They are no change only if each
// is what it was and they were names of one file before: a layer that has but some of them would cut the others off.
func (g *linkGroup) settle() {
	g.names = slices.DeleteFunc(g.names, func(c *candidate) bool { return c.change.Type == filetree.Whiteout })
	if len(g.names) < 2 {
		return
	}
	first := g.names[0]
	same := true
	for _, c := range g.names {
		same = same && c.state == unchanged && c.before.SameFile(first.before)
	}
	if same {
		return
	}
	first.state = changed
	for _, c := range g.names[1:] {
		c.state = changed
		e := &c.change.Entry
		// Mode, owner and capabilities stay: who unpacks a layer may set them anew for each name.
		e.Type, e.Link, e.Size, e.Digest = filetree.Hardlink, first.change.Path, 0, filetree.Digest{}
		c.change.Source, c.change.From = nil, filetree.Ref{}
	}
}
