package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/layer"
)

// execute turns a step's effects into a layer.
func (b *builder) execute(ctx context.Context, st *step) (err error) {
	release, err := b.engine.acquire(ctx, st)
	if err != nil {
		return err
	}
	defer release()
	effects := fileEffects(st.Effects)
	if len(effects) != 1 {
		return b.several(ctx, st, effects)
	}
	if x, ok := effects[0].(effect.Exec); ok {
		return b.exec(ctx, st, x)
	}
	changes, done, err := b.virtual(ctx, effects[0])
	if err != nil {
		return errors.Join(err, done())
	}
	_, err = b.commit(ctx, st, changes, done)
	return err
}

// fileEffects are the effects that change files; lowering has done the others.
func fileEffects(effects []effect.Effect) []effect.Effect {
	var out []effect.Effect
	for _, x := range effects {
		if _, ok := x.(effect.Set); !ok {
			out = append(out, x)
		}
	}
	return out
}

// virtual plans an effect that runs nothing. done is to be called when the changes are written.
func (b *builder) virtual(ctx context.Context, x effect.Effect) (changes []filetree.Change, done func() error, err error) {
	done = func() error { return nil }
	switch x := x.(type) {
	case effect.Copy:
		return b.copy(ctx, x)
	case effect.Mkdir:
		changes, err = b.mkdir(ctx, x)
	case effect.Symlink:
		changes, err = b.symlink(ctx, x)
	case effect.Remove:
		changes, err = b.remove(ctx, x)
	default:
		err = fmt.Errorf("effect %T makes no layer", x)
	}
	return changes, done, err
}

// several makes one layer of several effects: each sees what those before it did, on layers of their own that end with the
// step, and the layer is the difference between what is there before and after.
func (b *builder) several(ctx context.Context, st *step, effects []effect.Effect) error {
	base, err := b.settled(ctx)
	if err != nil {
		return err
	}
	var pending []func() error
	done := func() error {
		var errs []error
		for _, f := range pending {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	aside := &scratch{builder: *b, laid: base}
	aside.layers = b.layers[:len(b.layers):len(b.layers)]
	aside.dirs = b.dirs[:len(b.dirs):len(b.dirs)]
	defer func() { b.root = aside.root }()
	for _, x := range effects {
		f, err := aside.do(ctx, st, x)
		pending = append(pending, f)
		if err != nil {
			return errors.Join(err, done())
		}
	}
	after, err := aside.current(ctx)
	if err != nil {
		return errors.Join(err, done())
	}
	changes, err := filetree.Diff(base, after)
	if err != nil {
		return errors.Join(err, done())
	}
	if _, err = b.commit(ctx, st, changes, done); err != nil {
		return err
	}
	if p := aside.root; p != nil && after == aside.laid && slices.Equal(p.layers, aside.layers) {
		p.layers = slices.Clone(b.layers) // the directory holds what the one layer does
	}
	return nil
}

// scratch is a stage in the making on which the effects of one step are tried out. What is on disk is shared.
type scratch struct {
	builder
	laid *filetree.Tree // of the layers: what the view has beyond it is in no layer yet
}

// do applies one effect.
func (s *scratch) do(ctx context.Context, st *step, x effect.Effect) (done func() error, err error) {
	done = func() error { return nil }
	exec, ok := x.(effect.Exec)
	if !ok {
		changes, done, err := s.virtual(ctx, x)
		if err != nil {
			return done, err
		}
		view, err := s.current(ctx)
		if err != nil {
			return done, err
		}
		s.view, err = view.ApplyChanges(changes)
		return done, err
	}
	if err := s.lay(ctx); err != nil {
		return done, err
	}
	changes, keep, err := s.process(ctx, st, exec)
	if err != nil {
		return done, err
	}
	l, err := s.stack(ctx, changes)
	if err != nil {
		return done, err
	}
	keep(l)
	s.laid, err = s.settled(ctx)
	return done, err
}

// lay makes a layer of what is only in the view, for a process to see.
func (s *scratch) lay(ctx context.Context) error {
	view, err := s.current(ctx)
	if err != nil {
		return err
	}
	changes, err := filetree.Diff(s.laid, view)
	if err != nil || len(changes) == 0 {
		return err
	}
	if _, err := s.stack(ctx, changes); err != nil {
		return err
	}
	s.laid, err = s.settled(ctx)
	return err
}

// stack puts changes on top as a layer that nobody else will see.
func (s *scratch) stack(ctx context.Context, changes []filetree.Change) (*Layer, error) {
	p, err := layer.Start(ctx, s.engine.Store, changes, layer.Options{Compression: image.Uncompressed, Sound: s.sound})
	s.sound = nil
	if err != nil {
		return nil, err
	}
	l := s.engine.pendingLayer(p)
	l.bytes = sizeOf(changes)
	s.layers, s.view = append(s.layers, l), nil
	return l, nil
}
