package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/base"
	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/layer"
	"github.com/trowel-build/trowel/sdk"
)

// maxIndex bounds an index that is read from a cache.
const maxIndex = 1 << 30

// baseLayers are the layers of what a stage is based on.
func (e *Engine) baseLayers(ctx context.Context, at effect.Location, platform ocispec.Platform) ([]*Layer, error) {
	switch {
	case at.Stage != "":
		r, err := e.stages[at.Stage].build(ctx, e)
		if err != nil {
			return nil, err
		}
		return r.Layers, nil
	case at == effect.Location{}:
		return nil, nil
	}
	img, err := e.image(at, platform)
	if err != nil {
		return nil, err
	}
	return e.layersOf(img), nil
}

// layersOf are an image's layers, the same ones each time.
func (e *Engine) layersOf(img *base.Image) []*Layer {
	e.mu.Lock()
	defer e.mu.Unlock()
	if layers, ok := e.imageLayers[img]; ok {
		return layers
	}
	layers := make([]*Layer, 0, len(img.Layers))
	for _, x := range img.Layers {
		l := &Layer{
			engine: e, known: x.Descriptor, diffID: x.DiffID, mount: img.Repository, ofBase: true,
			origin: func(ctx context.Context) (io.ReadCloser, error) { return img.Open(ctx, x.Descriptor) },
		}
		l.source.layer = l
		layers = append(layers, l)
	}
	e.imageLayers[img] = layers
	return layers
}

// recordedLayer is a layer that a cache has.
func (e *Engine) recordedLayer(r cache.Record) *Layer {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := r.Layer
	l := &Layer{
		engine: e, diffID: digest.Digest(x.DiffID), recorded: &x, Created: x.Created,
		known: ocispec.Descriptor{MediaType: x.MediaType, Digest: digest.Digest(x.Blob), Size: x.Size},
	}
	l.source.layer = l
	return l
}

// pendingLayer is a layer that is being written.
func (e *Engine) pendingLayer(p *layer.Pending) *Layer {
	l := &Layer{engine: e, pending: p, Created: e.Created.Unix()}
	l.source.layer = l
	return l
}

// indexRecord is what is kept of a base's layer.
type indexRecord struct {
	Index     sdk.Digest `json:"index"`
	IndexSize int64      `json:"indexSize"`
}

// cachedIndex looks for a layer's index in the caches.
func (e *Engine) cachedIndex(ctx context.Context, l *Layer) (*layer.Index, bool, error) {
	var want indexRecord
	if l.recorded != nil {
		want = indexRecord{l.recorded.Index, l.recorded.IndexSize}
	} else {
		key := cache.IndexKey(l.diffID.String())
		value, ok := e.Cache.Records(ctx, []sdk.Key{key})[key]
		if !ok || json.Unmarshal(value, &want) != nil || want.IndexSize <= 0 {
			return nil, false, nil
		}
	}
	content, err := e.Cache.Blob(ctx, want.Index)
	if err != nil {
		return nil, false, nil //nolint:nilerr // a miss: the layer itself tells
	}
	data, err := readAll(ctx, content.Content, want)
	if err != nil {
		if ctx.Err() != nil {
			return nil, false, err
		}
		return nil, false, &DamagedBlob{digest.Digest(want.Index), fmt.Errorf("cache %q: %w", content.Name, err)}
	}
	x, err := layer.DecodeIndex(data)
	if err != nil {
		return nil, false, &DamagedBlob{digest.Digest(want.Index), fmt.Errorf("cache %q: %w", content.Name, err)}
	}
	content.Fill(ctx, sdk.Blob{Digest: want.Index, Size: want.IndexSize}, bytesContent(data))
	return x, true, nil
}

// bytesContent is what is in memory as caches take it.
func bytesContent(data []byte) sdk.Content {
	return sdk.Content{Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}
}

func readAll(ctx context.Context, content sdk.Content, want indexRecord) (_ []byte, err error) {
	if want.IndexSize > maxIndex {
		return nil, fmt.Errorf("it has %d bytes", want.IndexSize)
	}
	r, err := content.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	data, err := io.ReadAll(io.LimitReader(r, want.IndexSize+1))
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(data); got != digest.Digest(want.Index) {
		return nil, fmt.Errorf("its digest is %s", got)
	}
	return data, nil
}

// keepIndex stores the index of a base's layer, which holds wherever the layer occurs.
func (e *Engine) keepIndex(ctx context.Context, l *Layer, x *layer.Index) {
	e.background.Go(func() error {
		r, err := e.putIndex(ctx, x, e.Cache.PutIndexBlob)
		if err != nil {
			return err
		}
		value, err := json.Marshal(r)
		if err != nil {
			return err
		}
		e.Cache.PutRecords(ctx, []sdk.Record{{Key: cache.IndexKey(l.diffID.String()), Value: value}})
		return nil
	})
}

// putIndex stores an index as a blob.
func (e *Engine) putIndex(ctx context.Context, x *layer.Index, put func(context.Context, sdk.Blob, sdk.Content)) (indexRecord, error) {
	data, err := layer.EncodeIndex(*x)
	if err != nil {
		return indexRecord{}, err
	}
	r := indexRecord{Index: sdk.Digest(digest.FromBytes(data)), IndexSize: int64(len(data))}
	put(ctx, sdk.Blob{Digest: r.Index, Size: r.IndexSize}, bytesContent(data))
	return r, nil
}
