package host

import (
	"context"
	"errors"

	"github.com/trowel-build/trowel/host/internal/plan"
)

// Warm brings the images that a Dockerfile names, in any of its stages, into the request's caches on this machine: their
// layers, and what is in them. Nothing is built.
func Warm(ctx context.Context, r Request) (err error) {
	b := &build{Request: r, created: r.created(), stages: plan.AllStages}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.prepare(nil); err != nil {
		return err
	}
	if err := b.parse(ctx); err != nil {
		return err
	}
	if err := b.planAll(ctx); err != nil {
		return err
	}
	plans := b.plans
	b.plans = nil // no stage is anything but a list of images here
	engine, err := b.engine(nil, nil)
	if err != nil {
		return err
	}
	b.plans = plans
	return errors.Join(engine.Warm(ctx), engine.Wait())
}
