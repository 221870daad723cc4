package stage

import (
	"context"

	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/layer"
	"github.com/trowel-build/trowel/sdk"
)

// found is a layer that an earlier build left, in the form that this build wants it. A layer of the image may have been
// made by a build that had another use for it, or another compression: then it is written anew from its own files, which
// gives the same tar, so that an image is the same whether it comes from a cache or not.
func (b *builder) found(ctx context.Context, st *step, r cache.Record) (*Layer, error) {
	e := b.engine
	l := e.recordedLayer(r)
	have, err := image.LayerCompression(r.Layer.MediaType)
	if err != nil {
		return nil, err
	}
	if !b.stage.inImage || e.Form.rewrites() || have == e.Layers.Compression && r.Layer.Level == e.Layers.Level {
		return l, nil
	}
	changes, err := l.contents(ctx)
	if err != nil {
		return nil, err
	}
	p, err := layer.Start(ctx, e.Store, changes, e.Layers)
	if err != nil {
		return nil, err
	}
	again := e.pendingLayer(p)
	again.Created, again.original = l.Created, l
	below := b.layers[:len(b.layers):len(b.layers)]
	e.background.Go(func() error {
		if _, err := again.DiffID(ctx); err != nil {
			return err
		}
		return e.keep(ctx, b, st, again, below)
	})
	return again, nil
}

// contents are what a layer consists of, for a layer with the same files.
func (l *Layer) contents(ctx context.Context) ([]filetree.Change, error) {
	x, err := l.Index(ctx)
	if err != nil {
		return nil, err
	}
	changes := make([]filetree.Change, 0, len(x.Entries))
	for _, entry := range x.Entries {
		c := filetree.Change{Entry: entry, From: filetree.Ref{Path: entry.Path, Offset: entry.Offset, Size: entry.Size, Digest: entry.Digest}}
		if entry.Type == filetree.Regular && entry.Size > 0 {
			c.Source = &l.source
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// recordOf is what is kept of a written layer.
func (e *Engine) recordOf(ctx context.Context, l *Layer, made *layer.Layer, below []*Layer) (cache.Record, error) {
	desc, err := l.Descriptor(ctx)
	if err != nil {
		return cache.Record{}, err
	}
	index, err := e.putIndex(ctx, &made.Index, e.Cache.PutBlob)
	if err != nil {
		return cache.Record{}, err
	}
	e.Cache.PutBlob(ctx, sdk.Blob{Digest: sdk.Digest(desc.Digest), Size: desc.Size}, BlobContent(made.Blob))
	chain, err := chainOf(ctx, below)
	if err != nil {
		return cache.Record{}, err
	}
	r := cache.LayerRecord{
		DiffID: made.DiffID.String(), Below: chain.String(), Blob: sdk.Digest(desc.Digest), Size: desc.Size, MediaType: desc.MediaType,
		Index: index.Index, IndexSize: index.IndexSize, Created: l.Created,
	}
	if made.Compression != image.Uncompressed {
		r.Level = e.Layers.Level
	}
	return cache.Record{Layer: r}, nil
}
