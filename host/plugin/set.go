package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/trowel-build/trowel/host/plugin/wasm"
	"github.com/trowel-build/trowel/sdk"
)

// Set is the plugins of a configuration as values of the sdk interfaces. Each is started when it is first asked something, a cache
// by its Start if that is before.
type Set struct {
	Caches       []Cache
	Credentials  []sdk.CredentialProvider
	Instructions []Instructions

	running []*running
	engine  *wasm.Engine
}

// Cache is a plugin that is a cache.
type Cache struct {
	Name    string
	Backend sdk.Cache
	Roles   []string
	// Repository is that of a registry which the cache is; empty for others.
	Repository string
	// Start makes the plugin ready to be asked, which takes a while; nil for what is ready. What comes of it shows when the
	// plugin is asked.
	Start func(context.Context)
}

// Instructions is a plugin that gives instructions.
type Instructions struct {
	Name    string
	Handler sdk.InstructionHandler
	// Identity is a digest of all that decides what the plugin answers beside the call and what it reads; empty if its
	// answers must not be kept.
	Identity string
}

// pausable is a plugin that is a process.
type pausable interface {
	Pause(ctx context.Context) error
	Resume()
}

// Pause waits until the plugins that are processes answer nothing, and stops them until resume is called.
func (s *Set) Pause(ctx context.Context) (resume func(), err error) {
	var paused []pausable
	resume = func() {
		for _, p := range paused {
			p.Resume()
		}
	}
	for _, r := range s.running {
		p, ok := r.conn.(pausable)
		if !ok {
			continue
		}
		if err := p.Pause(ctx); err != nil {
			resume()
			return nil, fmt.Errorf("pause plugin %q: %w", r.name, err)
		}
		paused = append(paused, p)
	}
	return resume, nil
}

// Close ends all plugins.
func (s *Set) Close(ctx context.Context) error {
	var errs []error
	for _, r := range s.running {
		errs = append(errs, r.close(ctx))
	}
	if s.engine != nil {
		errs = append(errs, s.engine.Forget(ctx))
	}
	return errors.Join(errs...)
}
