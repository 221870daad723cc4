package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Layer is a layer to unpack: its index, and a way to read it.
type Layer struct {
	Entries []filetree.Entry
	// Read reads the layer from its start and visits its entries, content as for [Unpacker.Entry]. Offsets are those of
	// Entries. It is called at most once.
	Read func(ctx context.Context, visit func(e filetree.Entry, content io.Reader) error) error
}

// UnpackMerged unpacks the merged view of layers, the lowest first, into one existing, empty directory without overlayfs's
// marks: the way for layers that depend on each other ([ErrEntangled]), and for rootfs without overlayfs.
//
// What goes where is decided by the tree, as everywhere; a layer's bytes are read once, and only those that the merged
// view still shows are written.
func UnpackMerged(ctx context.Context, dir string, layers []Layer, opts Options) ([]Loss, error) {
	return unpackMerged(ctx, dir, layers, opts, nil)
}

func unpackMerged(ctx context.Context, dir string, layers []Layer, opts Options, from *salvage) (losses []Loss, err error) {
	tree := filetree.Empty()
	for i := range layers {
		if tree, err = tree.Apply(layers[i].Entries, layerNumber(i)); err != nil {
			return nil, fmt.Errorf("merge layer %d of %d: %w", i+1, len(layers), err)
		}
	}
	s, err := openSite(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("unpack layers: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	m := merge{site: s, from: from, wanted: make(map[contentKey]*wantedFile), files: make(map[any]string)}
	if err := tree.Walk("", m.make); err != nil {
		return nil, err
	}
	if err := m.readAll(ctx, layers); err != nil {
		return nil, err
	}
	for _, l := range m.links {
		switch err := s.makeHardlink(l.path, l.target); {
		case errors.Is(err, os.ErrNotExist):
			s.lose(l.path, "hardlink", err) // to a device that is lost
		case err != nil:
			return nil, err
		}
	}
	for i := len(m.dirs) - 1; i >= 0; i-- { // what is in a directory comes after it
		if err := s.settleDir(&m.dirs[i], mergesLower); err != nil {
			return nil, err
		}
	}
	return s.losses, nil
}

// layerNumber stands in a merge's tree for the layer that has a file's content.
type layerNumber int

// Open is never called: a merge reads its layers from start to end.
func (n layerNumber) Open(context.Context, filetree.Ref) (io.ReadCloser, error) {
	return nil, fmt.Errorf("open a file of layer %d: %w", n, errors.ErrUnsupported)
}

// merge is one tree on its way to disk.
type merge struct {
	site   *site
	from   *salvage // nil for none
	wanted map[contentKey]*wantedFile
	files  map[any]string // path by file identity, to find hardlinks
	links  []pendingLink
	dirs   []filetree.Entry
}

// contentKey says where a file's content is.
type contentKey struct {
	layer  layerNumber
	offset int64
}

type wantedFile struct {
	entry   filetree.Entry
	written bool
}

// make visits the tree: it makes everything but what needs content.
func (m *merge) make(p string, n *filetree.Node) (bool, error) {
	if taken, err := m.from.take(p, m.site); taken || err != nil {
		return false, err
	}
	e := n.Entry(p)
	if e.Type == filetree.Directory {
		m.dirs = append(m.dirs, e)
		if p == "" {
			return true, nil
		}
		return true, m.site.makeDir(p)
	}
	if first, ok := m.files[n.FileID()]; ok {
		m.links = append(m.links, pendingLink{path: p, target: first})
		return false, nil
	}
	m.files[n.FileID()] = p
	switch e.Type {
	case filetree.Regular:
		if e.Size == 0 {
			return false, m.site.makeSmall(&e, nil)
		}
		source, ref := n.Source(p)
		layer, ok := source.(layerNumber)
		if !ok {
			return false, fmt.Errorf("unpack %q: its content is in no layer", p)
		}
		key := contentKey{layer, ref.Offset}
		if other, taken := m.wanted[key]; taken {
			return false, fmt.Errorf("unpack %q: the index of layer %d says that its content is where that of %q is", p, layer+1, other.entry.Path)
		}
		m.wanted[key] = &wantedFile{entry: e}
		return false, nil
	case filetree.Symlink:
		return false, m.site.makeSymlink(&e)
	default:
		return false, m.site.makeNode(&e)
	}
}

// readAll reads the layers that have wanted content, several at once: they write different files.
func (m *merge) readAll(ctx context.Context, layers []Layer) (err error) {
	c := newCrew(m.site)
	defer func() { err = errors.Join(err, c.stop()) }()
	// Each layer has its own part of the map, to be marked without a lock.
	parts := make([]map[int64]*wantedFile, len(layers))
	for k, f := range m.wanted {
		if parts[k.layer] == nil {
			parts[k.layer] = make(map[int64]*wantedFile)
		}
		parts[k.layer][k.offset] = f
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(m.site.opts.workers())
	for i, part := range parts {
		if part == nil {
			continue
		}
		group.Go(func() error {
			if err := layers[i].Read(ctx, func(e filetree.Entry, content io.Reader) error { return writeWanted(c, part, &e, content) }); err != nil {
				return fmt.Errorf("unpack layer %d of %d: %w", i+1, len(layers), err)
			}
			for _, f := range part {
				if !f.written {
					return fmt.Errorf("unpack layer %d of %d: content of %q is not where its index says", i+1, len(layers), f.entry.Path)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func writeWanted(c *crew, part map[int64]*wantedFile, e *filetree.Entry, content io.Reader) error {
	if e.Type != filetree.Regular || e.Size == 0 {
		return nil
	}
	f, ok := part[e.Offset]
	if !ok || f.written {
		return nil
	}
	if f.entry.Size != e.Size {
		return fmt.Errorf("content of %q has %d bytes, its index says %d", f.entry.Path, e.Size, f.entry.Size)
	}
	f.written = true
	return c.file(&f.entry, content)
}
