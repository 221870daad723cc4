package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/blob"
	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/layer"
	"github.com/trowel-build/trowel/host/internal/progress"
	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/sdk"
)

// Layer is a layer of a build: one of a base image, one that an earlier build left, or one that is being written. What is
// not known of it yet is found out when it is wanted, once.
type Layer struct {
	engine *Engine
	// known and diffID are set from the start but for a layer that is being written, which has pending instead.
	known   ocispec.Descriptor
	diffID  digest.Digest
	pending *layer.Pending
	// original is the layer that this one is written anew from, in another compression.
	original *Layer
	// origin opens the blob where it comes from. It is nil for a layer that is being written.
	origin func(ctx context.Context) (io.ReadCloser, error)
	// mount is where registries can take the blob from; zero if nowhere.
	mount registry.Repository
	// recorded is what a cache says of the layer, if it comes from one.
	recorded *cache.LayerRecord
	// Created is when the layer was made, in seconds since the epoch; 0 where nobody knows.
	Created int64

	ofBase  bool         // it came with an image
	outward lazy[*Layer] // as the image has it

	index  lazy[*layer.Index]
	blob   lazy[*blob.Blob]
	source layerSource

	// On disk: upper is the directory of a layer that a process made, raw and dir of one that was unpacked, together of
	// one that was unpacked with all below it.
	unpacks  atomic.Bool // raw is made, or going to be
	upper    string
	tar      *io.PipeReader    // of a layer that is unpacked while it is written
	bytes    int64             // of the files of a layer that is being written
	changes  []filetree.Change // of a layer that no process made, to be made in plain directories; nil where they are to be read
	raw      lazy[*unpacked]
	alone    atomic.Pointer[unpacked] // raw, for a stage to take where each has a directory of its own
	dir      lazy[string]
	together lazy[string]
	squashed bool // it is all of the image beyond its base, in the image's form
}

// DamagedBlob says that a cache backend gave a blob that is not what its digest says.
type DamagedBlob struct {
	Digest digest.Digest
	Err    error
}

// Error names the blob.
func (d *DamagedBlob) Error() string { return fmt.Sprintf("blob %s is damaged: %v", d.Digest, d.Err) }

// Unwrap returns the cause.
func (d *DamagedBlob) Unwrap() error { return d.Err }

// DiffID is the digest of the layer's tar. It waits until the layer is written.
func (l *Layer) DiffID(context.Context) (digest.Digest, error) {
	if l.pending == nil {
		return l.diffID, nil
	}
	made, err := l.pending.Wait()
	if err != nil {
		return "", err
	}
	if o := l.original; o != nil && made.DiffID != o.diffID {
		return "", &DamagedBlob{o.known.Digest, fmt.Errorf("its files make a layer with diff ID %s, not %s", made.DiffID, o.diffID)}
	}
	return made.DiffID, nil
}

// Descriptor describes the layer's blob. It waits until the layer is written.
func (l *Layer) Descriptor(context.Context) (ocispec.Descriptor, error) {
	if l.pending == nil {
		return l.known, nil
	}
	made, err := l.pending.Wait()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	mediaType, err := image.LayerMediaType(image.OCI, made.Compression)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d, err := made.Blob.Descriptor(context.Background()) // complete: it waits for nothing
	d.MediaType = mediaType
	return d, err
}

// MountFrom is a repository that registries can mount the blob from; zero if there is none.
func (l *Layer) MountFrom() registry.Repository { return l.mount }

// Cached says whether an earlier build left the layer in a cache.
func (l *Layer) Cached() bool { return l.recorded != nil }

// Title is what to call the layer in messages.
func (l *Layer) Title() string {
	if l.pending != nil {
		return "layer"
	}
	return "layer " + l.known.Digest.String()[:19]
}

// name is what to call the layer in errors: where it comes from, and all of its digest.
func (l *Layer) name() string {
	switch {
	case l.pending != nil:
		return "being written"
	case l.mount != registry.Repository{}:
		return l.mount.String() + "@" + l.known.Digest.String()
	}
	return l.known.Digest.String()
}

// content is the layer's blob in the store, still growing perhaps: a blob from elsewhere is fetched once, whoever reads it,
// and can be read while it arrives.
func (l *Layer) content() (*blob.Blob, error) {
	if l.pending != nil {
		return l.pending.Blob(), nil
	}
	return l.blob.get(func() (*blob.Blob, error) { return l.engine.fetch(l) })
}

// OpenBlob opens the layer's blob from its start.
func (l *Layer) OpenBlob(ctx context.Context) (io.ReadCloser, error) {
	b, err := l.content()
	if err != nil {
		return nil, err
	}
	return b.Open(ctx, 0)
}

// Index is what the layer holds: as written, as a cache remembers it, or found out by reading it.
func (l *Layer) Index(ctx context.Context) (*layer.Index, error) {
	return l.index.get(func() (*layer.Index, error) {
		if l.pending != nil {
			made, err := l.pending.Wait()
			if err != nil {
				return nil, err
			}
			return &made.Index, nil
		}
		if x, ok, err := l.engine.cachedIndex(ctx, l); ok || err != nil {
			return x, err
		}
		if l.unpacks.Load() {
			// It will be read to be unpacked: that one time is enough.
			u, err := l.unpack(ctx)
			if err != nil {
				return nil, err
			}
			return u.index, nil
		}
		return l.engine.read(ctx, l, nil)
	})
}

// unpack makes the layer's directory, without what depends on the layers below.
func (l *Layer) unpack(ctx context.Context) (*unpacked, error) {
	l.unpacks.Store(true)
	return l.raw.get(func() (*unpacked, error) {
		u, err := l.engine.unpackAlone(ctx, l)
		l.alone.Store(u)
		return u, err
	})
}

// Upload is the layer's blob as the registries get it.
func (l *Layer) Upload() registry.Blob {
	if l.pending != nil {
		return l.pending.Blob()
	}
	return upload{l}
}

// upload is a blob that is known, and fetched if a registry wants its bytes.
type upload struct{ layer *Layer }

// Open opens the bytes from an offset on.
func (u upload) Open(ctx context.Context, offset int64) (io.ReadCloser, error) {
	b, err := u.layer.content()
	if err != nil {
		return nil, err
	}
	return b.Open(ctx, offset)
}

// Descriptor is known.
func (u upload) Descriptor(context.Context) (ocispec.Descriptor, error) { return u.layer.known, nil }

// Written says that all is there: it can be had.
func (u upload) Written() (int64, registry.State) { return u.layer.known.Size, registry.Complete }

// fetch starts to bring a blob into the store, from a cache or from where it comes from, and returns it growing.
func (e *Engine) fetch(l *Layer) (*blob.Blob, error) {
	ctx := e.ctx
	if b, err := e.Store.Get(l.known.Digest); err == nil {
		return b, nil
	}
	open, cached := l.origin, ""
	keep := e.Cache.PutBaseBlob
	if c, err := e.Cache.Blob(ctx, sdk.Digest(l.known.Digest)); err == nil {
		if c.File != "" {
			if b, err := e.Store.AdoptFile(ctx, c.File, l.known.Digest); err == nil {
				return b, nil
			}
		}
		open, cached, keep = c.Open, c.Name, c.Fill
	}
	if open == nil {
		return nil, &DamagedBlob{l.known.Digest, sdk.ErrNotFound}
	}
	in, err := open(ctx)
	if err != nil {
		if cached != "" && ctx.Err() == nil {
			err = &DamagedBlob{l.known.Digest, fmt.Errorf("cache %q: %w", cached, err)} // it said that it has it
		}
		return nil, err
	}
	out, err := e.Store.Create(ctx)
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	growing := out.Blob()
	e.mu.Lock()
	e.arriving = append(e.arriving, growing)
	e.mu.Unlock()
	e.background.Go(func() error {
		err := e.copyBlob(ctx, l, out, in)
		if err != nil && ctx.Err() != nil {
			return out.Abort(err) // nobody wants it any more
		}
		if err != nil && cached != "" {
			err = &DamagedBlob{l.known.Digest, fmt.Errorf("cache %q: %w", cached, err)}
		}
		if err != nil {
			return errors.Join(err, out.Abort(err))
		}
		keep(ctx, sdk.Blob{Digest: sdk.Digest(l.known.Digest), Size: l.known.Size}, BlobContent(growing))
		return nil
	})
	return growing, nil
}

func (e *Engine) copyBlob(ctx context.Context, l *Layer, out *blob.Writer, in io.ReadCloser) (err error) {
	defer func() { err = errors.Join(err, in.Close()) }()
	t := progress.StartTransfer(e.Progress, "transfer/"+e.place(), "pull "+l.Title(), l.known.Size)
	defer func() { t.Done(ctx, err) }()
	if _, err := io.Copy(out, t.Reader(in)); err != nil {
		return err
	}
	if got := out.Digest(); got != l.known.Digest {
		// Who reads the blob already must learn what the caller makes of this, so the caller aborts the writer.
		return fmt.Errorf("blob %q: its content has the digest %q", l.known.Digest, got)
	}
	_, err = out.CommitAs(ctx, l.known.Digest)
	return err
}

// BlobContent is a stored blob as caches take it.
func BlobContent(b *blob.Blob) sdk.Content {
	return sdk.Content{
		Open: func(ctx context.Context) (io.ReadCloser, error) { return b.Open(ctx, 0) },
		File: b.File(),
	}
}

// read reads a layer from its start to its end and makes sure that it is what its diff ID says.
func (e *Engine) read(ctx context.Context, l *Layer, visitor layer.Visitor) (*layer.Index, error) {
	b, err := l.content()
	if err != nil {
		return nil, err
	}
	in, err := b.Open(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	contents, err := layer.Read(ctx, in, layer.ReadOptions{Name: l.name(), DiffID: l.diffID, Visitor: visitor})
	if err == nil {
		// The last bytes may be read before the digest of all is known to be right.
		_, _, err = b.Wait(ctx)
	}
	if err != nil {
		return nil, err
	}
	if l.pending == nil {
		e.keepIndex(ctx, l, &contents.Index)
	}
	return &contents.Index, nil
}

// readTee reads a layer while it is written.
func (e *Engine) readTee(ctx context.Context, l *Layer, visitor layer.Visitor) (*layer.Index, error) {
	if _, err := layer.Read(ctx, l.tar, layer.ReadOptions{Name: l.name(), Visitor: visitor}); err != nil {
		return nil, err
	}
	return l.Index(ctx)
}

// merge puts layers on a tree.
func (e *Engine) merge(ctx context.Context, tree *filetree.Tree, layers []*Layer) (*filetree.Tree, error) {
	if err := each(layers, func(l *Layer) error { _, err := l.Index(ctx); return err }); err != nil {
		return nil, err
	}
	for _, l := range layers {
		x, err := l.Index(ctx)
		if err != nil {
			return nil, err
		}
		if tree, err = tree.Apply(x.Entries, x.Inline.Source(&l.source)); err != nil {
			return nil, fmt.Errorf("merge layer %q: %w", l.name(), err)
		}
	}
	return tree, nil
}

// layerSource opens the files of a layer.
type layerSource struct {
	layer *Layer
	files lazy[filetree.Source]
}

// Open opens one file.
func (s *layerSource) Open(ctx context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	files, err := s.files.get(func() (filetree.Source, error) { return s.layer.engine.openTar(ctx, s.layer) })
	if err != nil {
		return nil, err
	}
	return files.Open(ctx, ref)
}

// openTar makes the files of a layer readable by their place in its tar.
func (e *Engine) openTar(ctx context.Context, l *Layer) (filetree.Source, error) {
	id, err := l.DiffID(ctx)
	if err != nil {
		return nil, err
	}
	return layer.NewSource(e.Store, id, l.OpenBlob), nil
}
