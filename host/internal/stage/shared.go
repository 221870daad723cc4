package stage

import "context"

// sharedStep tells steps that are one and the same: those with the same definition, whatever stages they are in, if their
// layers are wanted in the same form and from the same caches.
type sharedStep struct {
	definition string
	inImage    bool
	anew       bool
}

// once does a step unless another stage does, and takes what that makes: of stages for several platforms, the steps that do
// not depend on the platform are done once, and shown once.
func (b *builder) once(ctx context.Context, st *step, do stepFunc) error {
	l, err := b.engine.sharedLayer(st).get(func() (*Layer, error) {
		err := b.show(ctx, st, do)
		return st.layer, err
	})
	if err != nil || st.layer == l {
		return err
	}
	b.add(ctx, st, l)
	b.expect(ctx, l)
	return nil
}

func (st *step) sharing() sharedStep {
	return sharedStep{string(st.definition), st.stage.inImage, st.stage.anew}
}

// sharedLayer is the layer of a step and of all that are the same.
func (e *Engine) sharedLayer(st *step) *lazy[*Layer] {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := st.sharing()
	if e.shared[key] == nil {
		e.shared[key] = &lazy[*Layer]{}
	}
	return e.shared[key]
}
