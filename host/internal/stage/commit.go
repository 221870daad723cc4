package stage

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/layer"
	"github.com/trowel-build/trowel/sdk"
)

// commit starts to write what a step changed as a layer and puts the layer on top. done is called when it is written.
func (b *builder) commit(ctx context.Context, st *step, changes []filetree.Change, done func() error) (*Layer, error) {
	e := b.engine
	view, err := b.current(ctx)
	if err != nil {
		return nil, err
	}
	if view, err = view.ApplyChanges(changes); err != nil {
		return nil, err
	}
	options := e.Layers
	if !b.stage.inImage || e.Form.rewrites() {
		// Nobody downloads it as it is, and files in a plain tar can be read one by one.
		options = layer.Options{Compression: image.Uncompressed}
	}
	options.Sound, b.sound = b.sound, nil
	var tee *io.PipeReader
	closeTee := func(error) error { return nil }
	if !e.plain() && !st.runs() && b.runsLater(st) {
		// A process will need the files on disk: they are unpacked from the same pass.
		r, w := io.Pipe()
		tee, closeTee, options.Tee = r, w.CloseWithError, w
	}
	p, err := layer.Start(ctx, e.Store, changes, options)
	if err != nil {
		return nil, err
	}
	l := e.pendingLayer(p)
	l.bytes = sizeOf(changes)
	if e.plain() && !st.runs() {
		l.changes = changes
	}
	if l.tar = tee; tee != nil {
		e.background.Go(func() error {
			_, err := l.unpack(ctx)
			return err
		})
	}
	below := b.layers[:len(b.layers):len(b.layers)]
	b.add(ctx, st, l)
	b.view = view
	e.background.Go(func() error {
		_, err := p.Wait()
		if err = errors.Join(err, closeTee(err), done()); err != nil {
			return err
		}
		return e.keep(ctx, b, st, l, below)
	})
	return l, nil
}

// runsLater says whether a later step of the stage runs a process.
func (b *builder) runsLater(st *step) bool {
	at := slices.Index(b.stage.steps, st)
	return slices.ContainsFunc(b.stage.steps[at+1:], (*step).runs)
}

// keep stores a step's layer in the caches: the blobs first, then the records that name them.
func (e *Engine) keep(ctx context.Context, b *builder, st *step, l *Layer, below []*Layer) error {
	if e.Cache.ReadOnly() {
		return nil
	}
	made, err := l.pending.Wait()
	if err != nil {
		return err
	}
	record, err := e.recordOf(ctx, l, made, below)
	if err != nil {
		return err
	}
	content, err := b.contentKey(ctx, st, below)
	if err != nil {
		return err
	}
	return e.putRecords(ctx, st, content, record)
}

func (e *Engine) putRecords(ctx context.Context, st *step, content sdk.Key, r cache.Record) error {
	value, err := r.Encode()
	if err != nil {
		return err
	}
	e.Cache.PutRecords(ctx, []sdk.Record{
		{Key: st.definition, Value: value},
		{Key: content, Value: value},
		{Key: cache.SeenKey(st.bare), Value: []byte("1")},
	})
	return nil
}

// lookUp finds a layer under a content key.
func (e *Engine) lookUp(ctx context.Context, key sdk.Key) (*cache.Record, bool) {
	r, ok := cache.Step(e.Cache.Records(ctx, []sdk.Key{key}), key)
	if !ok {
		return nil, false
	}
	held := e.Cache.Held(ctx, []sdk.Digest{r.Layer.Blob, r.Layer.Index})
	return &r, held[r.Layer.Blob] && held[r.Layer.Index]
}

// contentKey is the key of a step by what it builds on and reads, all of which has to be written for that.
func (b *builder) contentKey(ctx context.Context, st *step, below []*Layer) (sdk.Key, error) {
	chain, err := chainOf(ctx, below)
	if err != nil {
		return "", err
	}
	inputs, err := b.contentInputs(ctx, st)
	if err != nil {
		return "", err
	}
	sum, err := cache.StepSum(b.engine.circumstances(st), st.Effects, inputs)
	if err != nil {
		return "", err
	}
	return cache.ContentKey(chain, sum), nil
}

// chainOf is the chain of layers, all of which it waits for.
func chainOf(ctx context.Context, layers []*Layer) (cache.Chain, error) {
	ids := make([]string, 0, len(layers))
	for _, l := range layers {
		id, err := l.DiffID(ctx)
		if err != nil {
			return cache.Chain{}, err
		}
		ids = append(ids, id.String())
	}
	return cache.ImageChain(ids), nil
}
