package stage

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/sdk"
)

// lookAhead computes every key that needs no execution, asks for all of them at once, and marks the steps whose layers
// earlier builds left. Stages come after those they need.
func (e *Engine) lookAhead(ctx context.Context) error {
	e.resolveRemotes(ctx)
	for _, s := range e.order {
		if err := e.define(ctx, s); err != nil {
			return err
		}
	}
	if e.Cache.Empty() {
		return nil
	}
	var keys, own []sdk.Key
	for _, s := range e.order {
		for _, st := range s.steps {
			if !st.makesLayer {
				continue
			}
			if s.anew {
				own = append(own, st.definition)
			} else {
				keys = append(keys, st.definition)
			}
			if !s.noCache {
				keys = append(keys, cache.SeenKey(st.bare))
			}
		}
	}
	e.markHits(ctx, e.Cache.Records(ctx, keys), e.Cache.OwnRecords(ctx, own))
	return nil
}

// markHits takes for each stage the steps from its start on that have a record, as far as the records were made one on
// top of the other and the blobs that they name are still there.
func (e *Engine) markHits(ctx context.Context, found, own map[sdk.Key][]byte) {
	var blobs []sdk.Digest
	for _, s := range e.order {
		for _, st := range s.steps {
			if !st.makesLayer {
				continue
			}
			_, st.seen = found[cache.SeenKey(st.bare)]
			r, ok := cache.Step(found, st.definition)
			if s.anew {
				r, ok = cache.Step(own, st.definition)
			}
			if ok {
				st.record = &r
				blobs = append(blobs, r.Layer.Blob, r.Layer.Index)
			}
		}
	}
	held := e.Cache.Held(ctx, blobs)
	for _, s := range e.order {
		var known bool
		if s.layers, known = e.layersBelow(s); !known {
			continue // a step on layers that are yet to be made can only be found by what they turn out to be
		}
		for ; s.hits < len(s.steps); s.hits++ {
			st := s.steps[s.hits]
			if !st.makesLayer {
				continue
			}
			if st.record == nil || st.record.Layer.Below != s.layers.String() || !held[st.record.Layer.Blob] || !held[st.record.Layer.Index] {
				break
			}
			s.layers = s.layers.Layer(st.record.Layer.DiffID)
		}
	}
}

// layersBelow is the chain of the layers that a stage starts on, if they are all known.
func (e *Engine) layersBelow(s *Stage) (cache.Chain, bool) {
	if parent, ok := e.stages[s.base.Stage]; ok {
		return parent.layers, parent.hits == len(parent.steps)
	}
	chain, err := e.baseChain(s.base, s.platform)
	return chain, err == nil
}

// define chains the definition keys of a stage.
func (e *Engine) define(ctx context.Context, s *Stage) error {
	chain, err := e.baseChain(s.base, s.platform)
	if err != nil {
		return err
	}
	// What builds on or copies from a stage that is made anew must not be found by its definition: that did not change.
	s.anew = s.noCache || e.stages[s.base.Stage] != nil && e.stages[s.base.Stage].anew
	for _, st := range s.steps {
		if !st.makesLayer {
			continue
		}
		if err := e.defineInputs(ctx, st); err != nil {
			return e.fail(st, err)
		}
		for _, at := range locations(st.Effects) {
			s.anew = s.anew || e.stages[at.Stage] != nil && e.stages[at.Stage].anew
		}
		if st.bare, err = cache.StepSum(e.circumstances(st), st.Effects, nil); err != nil {
			return err
		}
		sum, err := cache.StepSum(e.circumstances(st), st.Effects, st.inputs)
		if err != nil {
			return err
		}
		key, keySum := cache.DefinitionKey(chain, sum)
		st.definition = key
		chain = chain.Definition(keySum)
	}
	s.defined = chain
	return nil
}

// circumstances are what a step's layer depends on beside effects and inputs: where a process runs, the platform, and whether
// files can have more than one owner here.
func (e *Engine) circumstances(st *step) string {
	if !st.runs() {
		return "any platform"
	}
	platform := formatPlatform(st.stage.platform)
	if e.singleID {
		return platform + " with a single ID"
	}
	return platform
}

// baseChain is the chain that a stage on this base starts with.
func (e *Engine) baseChain(at effect.Location, platform ocispec.Platform) (cache.Chain, error) {
	switch {
	case at.Stage != "":
		return e.stages[at.Stage].defined, nil
	case at == effect.Location{}:
		return cache.ImageChain(nil), nil
	}
	img, err := e.image(at, platform)
	if err != nil {
		return cache.Chain{}, err
	}
	ids := make([]string, 0, len(img.Layers))
	for _, l := range img.Layers {
		ids = append(ids, l.DiffID.String())
	}
	return cache.ImageChain(ids), nil
}
