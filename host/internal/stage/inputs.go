package stage

import (
	"context"
	"fmt"

	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/effect"
)

// defineInputs says what the effects of a step read, as far as it is known before anything runs: the files of a context by
// their content, what is elsewhere by what stands for it, and those of a stage or an image by what they are copied from.
func (e *Engine) defineInputs(ctx context.Context, st *step) error {
	st.inputsKnown = true
	for _, r := range readings(st.Effects) {
		for _, src := range r.Sources {
			if !e.isBuilt(src) {
				continue
			}
			chain, err := e.baseChain(src.From, st.stage.target)
			if err != nil {
				return err
			}
			st.inputs = append(st.inputs, cache.StageInput(chain, src.Paths))
			st.inputsKnown = false
		}
		in, err := e.readInputs(ctx, r, e.contextTree, func(src effect.CopySource) bool { return !e.isBuilt(src) })
		if err != nil {
			return err
		}
		st.inputs = append(st.inputs, in...)
	}
	return nil
}

// isBuilt says whether a source is of a stage or an image.
func (e *Engine) isBuilt(src effect.CopySource) bool {
	at := src.From
	return len(src.Inline) == 0 && !at.IsRemote() && (at.Context == "" || e.Contexts[at.Context] == nil)
}

// contentInputs are what the effects of a step read, by content.
func (b *builder) contentInputs(ctx context.Context, st *step) ([]cache.Input, error) {
	if st.inputsKnown {
		return st.inputs, nil
	}
	var inputs []cache.Input
	for _, r := range readings(st.Effects) {
		in, err := b.engine.readInputs(ctx, r, b.sourceTree, func(effect.CopySource) bool { return true })
		if err != nil {
			return nil, fmt.Errorf("digest what the step reads: %w", err)
		}
		inputs = append(inputs, in...)
	}
	return inputs, nil
}

// readInputs are what a copy or a mount reads of those of its sources that are wanted: what stands for each that is elsewhere, and a
// digest of the files that it selects of all others.
func (e *Engine) readInputs(ctx context.Context, r reading, tree sourceTree, wanted func(effect.CopySource) bool) ([]cache.Input, error) {
	var inputs []cache.Input
	files := r
	files.Sources = nil
	for _, src := range r.Sources {
		switch {
		case !wanted(src):
		case src.From.IsRemote():
			found, err := e.remote(ctx, src.From)
			if err != nil {
				return nil, err
			}
			inputs = append(inputs, cache.RemoteInput(found.Identity(), src.Paths))
		default:
			files.Sources = append(files.Sources, src)
		}
	}
	if len(files.Sources) == 0 {
		return inputs, nil
	}
	in, err := e.fileInput(ctx, files, tree)
	return append(inputs, in), err
}

// fileInput digests the files that are read.
func (e *Engine) fileInput(ctx context.Context, r reading, tree sourceTree) (cache.Input, error) {
	changes, named, err := e.filesOf(ctx, r, tree)
	if err != nil {
		return cache.Input{}, e.explainMissing(ctx, r.Sources, err)
	}
	if err := e.digestChanges(ctx, changes); err != nil {
		return cache.Input{}, err
	}
	return cache.FilesInput(changes, named)
}
