package plugin

import (
	"context"
	"errors"

	"github.com/trowel-build/trowel/sdk"
)

// Set is the plugins of a configuration as values of the sdk interfaces. Each is started when it is first asked something.
type Set struct {
	Caches       []Cache
	Credentials  []sdk.CredentialProvider
	Instructions []Instructions

	running []*running
}

// Cache is a plugin that is a cache.
type Cache struct {
	Name    string
	Backend sdk.Cache
	Roles   []string
	// Repository is that of a registry which the cache is; empty for others.
	Repository string
}

// Instructions is a plugin that gives instructions.
type Instructions struct {
	Name    string
	Handler sdk.InstructionHandler
	// Identity is a digest of all that decides what the plugin answers beside the call and what it reads; empty if its
	// answers must not be kept.
	Identity string
}

// Close ends all plugins.
func (s *Set) Close(ctx context.Context) error {
	var errs []error
	for _, r := range s.running {
		errs = append(errs, r.close(ctx))
	}
	return errors.Join(errs...)
}
