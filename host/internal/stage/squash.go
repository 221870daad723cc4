package stage

import (
	"context"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/layer"
)

// squash makes one layer of all that a result has beyond its base, in the image's form. The history keeps every step; the
// last one that changed files is the one that has the layer.
func (e *Engine) squash(ctx context.Context, r *Result) (*Result, error) {
	var bases []*Layer
	for _, l := range r.Layers {
		if l.ofBase {
			bases = append(bases, l)
		}
	}
	if len(bases) == len(r.Layers) {
		return r, nil
	}
	before, err := e.merge(ctx, filetree.Empty(), bases)
	if err != nil {
		return nil, err
	}
	after, err := e.merge(ctx, before, r.Layers[len(bases):])
	if err != nil {
		return nil, err
	}
	changes, err := filetree.Diff(before, after)
	if err != nil {
		return nil, err
	}
	p, err := layer.Start(ctx, e.Store, e.Form.apply(changes), e.Layers)
	if err != nil {
		return nil, err
	}
	one := e.pendingLayer(p)
	one.squashed, one.Created = true, r.Layers[len(r.Layers)-1].Created
	return &Result{Stage: r.Stage, Layers: append(bases[:len(bases):len(bases)], one), engine: r.engine, one: one}, nil
}

// Squashed are the steps of an image that has one layer, as its history tells of them: the layer is the last one's.
func (r *Result) Squashed(steps []StepResult) []StepResult {
	if r.one == nil {
		return steps
	}
	last := -1
	for i, st := range steps {
		if st.Made != nil {
			steps[i].Made, last = nil, i
		}
	}
	if last >= 0 {
		steps[last].Made = r.one
	}
	return steps
}
