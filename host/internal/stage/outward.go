package stage

import (
	"context"
	"fmt"
	"time"

	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/layer"
	"github.com/trowel-build/trowel/sdk"
)

// Outward is the layer as the image has it. Steps never see that form: a process must find the same files whether the
// layers below come from a cache or not, and whatever SOURCE_DATE_EPOCH is.
func (l *Layer) Outward(ctx context.Context) (*Layer, error) {
	return l.outward.get(func() (*Layer, error) {
		if l.engine.staysAsItIs(l) {
			return l, nil
		}
		if l.ofBase {
			return l.engine.outward(ctx, l, "as it is", l.engine.recompress)
		}
		last := *l.engine.Form.NotAfter
		return l.engine.outward(ctx, l, fmt.Sprintf("not after %d", last.Unix()), func(ctx context.Context, l *Layer) (*Layer, error) {
			return l.engine.clamp(ctx, l, last)
		})
	})
}

// staysAsItIs says whether the image has a layer as steps see it.
func (e *Engine) staysAsItIs(l *Layer) bool {
	if !l.ofBase {
		return e.Form.NotAfter == nil
	}
	have, err := image.LayerCompression(l.known.MediaType)
	return e.Form.Base == KeepCompression || err != nil || have == e.Layers.Compression
}

// recompress writes the tar of a base's layer with the compression of the others.
func (e *Engine) recompress(ctx context.Context, l *Layer) (*Layer, error) {
	p, err := layer.Recompress(ctx, e.Store, l.OpenBlob, e.Layers)
	if err != nil {
		return nil, err
	}
	out := e.pendingLayer(p)
	out.original = l
	return out, nil
}

// clamp writes a layer anew without times after the last one.
func (e *Engine) clamp(ctx context.Context, l *Layer, last time.Time) (*Layer, error) {
	changes, err := l.contents(ctx)
	if err != nil {
		return nil, err
	}
	for i := range changes {
		changes[i].ModTime = min(changes[i].ModTime, last.UnixNano())
	}
	p, err := layer.Start(ctx, e.Store, changes, e.Layers)
	if err != nil {
		return nil, err
	}
	return e.pendingLayer(p), nil
}

// outward makes a layer's outward form, or finds what an earlier build made.
func (e *Engine) outward(ctx context.Context, l *Layer, form string, write func(context.Context, *Layer) (*Layer, error)) (*Layer, error) {
	id, err := l.DiffID(ctx)
	if err != nil {
		return nil, err
	}
	key := cache.OutwardKey(id.String(), fmt.Sprintf("%s, %s %d", form, e.Layers.Compression, e.Layers.Level))
	if r, ok := e.lookUp(ctx, key); ok {
		found := e.recordedLayer(*r)
		found.Created = l.Created
		return found, nil
	}
	out, err := write(ctx, l)
	if err != nil {
		return nil, err
	}
	out.Created = l.Created
	e.background.Go(func() error { return e.keepOutward(ctx, key, out) })
	return out, nil
}

// keepOutward stores a layer in the image's form in the caches.
func (e *Engine) keepOutward(ctx context.Context, key sdk.Key, l *Layer) error {
	if _, err := l.DiffID(ctx); err != nil || e.Cache.ReadOnly() {
		return err
	}
	made, err := l.pending.Wait()
	if err != nil {
		return err
	}
	record, err := e.recordOf(ctx, l, made, nil)
	if err != nil {
		return err
	}
	value, err := record.Encode()
	if err != nil {
		return err
	}
	e.Cache.PutRecords(ctx, []sdk.Record{{Key: key, Value: value}})
	return nil
}

// publish tells of a layer of the image as it will be there.
func (e *Engine) publish(l *Layer) {
	if e.Publish != nil {
		e.Publish(l)
	}
}

// publishOutward tells of a layer in the image's form once there is one.
func (e *Engine) publishOutward(ctx context.Context, l *Layer) {
	if e.staysAsItIs(l) {
		e.publish(l)
		return
	}
	e.background.Go(func() error {
		out, err := l.Outward(ctx)
		if err == nil {
			e.publish(out)
		}
		return err
	})
}
