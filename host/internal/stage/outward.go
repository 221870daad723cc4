package stage

import (
	"context"
	"fmt"
	"time"

	"github.com/trowel-build/trowel/host/internal/cache"
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
		return l.engine.clamp(ctx, l, *l.engine.Form.NotAfter)
	})
}

// staysAsItIs says whether the image has a layer as steps see it.
func (e *Engine) staysAsItIs(l *Layer) bool { return l.ofBase || e.Form.NotAfter == nil }

// clamp writes a layer anew without times after the one given, or finds what an earlier build wrote.
func (e *Engine) clamp(ctx context.Context, l *Layer, last time.Time) (*Layer, error) {
	id, err := l.DiffID(ctx)
	if err != nil {
		return nil, err
	}
	key := cache.OutwardKey(id.String(), fmt.Sprintf("not after %d, %s %d", last.Unix(), e.Layers.Compression, e.Layers.Level))
	if r, ok := e.lookUp(ctx, key); ok {
		found := e.recordedLayer(*r)
		found.Created = l.Created
		return found, nil
	}
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
	out := e.pendingLayer(p)
	out.Created = l.Created
	e.background.Go(func() error { return e.keepOutward(ctx, key, out) })
	return out, nil
}

// keepOutward stores a layer in the image's form in the caches.
func (e *Engine) keepOutward(ctx context.Context, key sdk.Key, l *Layer) error {
	made, err := l.pending.Wait()
	if err != nil || e.Cache.ReadOnly() {
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
