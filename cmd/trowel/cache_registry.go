package main

import (
	"fmt"
	"time"

	"github.com/trowel-build/trowel/builtin/cache/registry"
	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/host/plugin"
	"github.com/trowel-build/trowel/sdk"
)

// sourceRegistry is the source of the cache backend that is compiled in.
const sourceRegistry = "builtin:registry"

// native makes the cache backend that is compiled in, if a table of trowel.toml is one. It reaches its registry as the
// build does.
func (in *plugged) native(spec plugin.Spec, r *host.Request) (plugin.Cache, bool, error) {
	if spec.Source != sourceRegistry {
		return plugin.Cache{}, false, nil
	}
	if spec.Kind != sdk.KindCache {
		return plugin.Cache{}, true, fmt.Errorf("kind is %q, and %s is a cache", spec.Kind, sourceRegistry)
	}
	settings := sdk.NewConfig(spec.Config)
	name, age := settings.Required("repository"), settings.String("max-age", "0s")
	if err := settings.Err(); err != nil {
		return plugin.Cache{}, true, err
	}
	maxAge, err := time.ParseDuration(age)
	if err != nil {
		return plugin.Cache{}, true, fmt.Errorf("config: max-age %q: want a duration such as 336h", age)
	}
	repository, backend, err := openRegistryCache(repositoryCache{name: name, maxAge: maxAge}, r)
	if err != nil {
		return plugin.Cache{}, true, err
	}
	in.opened = append(in.opened, repository)
	return plugin.Cache{Backend: backend, Repository: name}, true, nil
}

// repositoryCache says which cache in a registry is meant.
type repositoryCache struct {
	name, scope string        // the repository, and which of the caches in it
	maxAge      time.Duration // 0: any
}

// openRegistryCache opens the cache in a repository. The repository is to be closed.
func openRegistryCache(c repositoryCache, r *host.Request) (*host.Repository, *registry.Cache, error) {
	repository, err := host.OpenRepository(host.RepositoryAccess{
		Name: c.name, Registries: r.Registries, DefaultRegistry: r.DefaultRegistry, RegistryAttempts: r.RegistryAttempts,
		Proxy: r.Proxy, Credentials: r.Credentials, UserAgent: r.UserAgent,
	})
	if err != nil {
		return nil, nil, err
	}
	backend, err := registry.New(registry.Config{Repository: repository, Scope: c.scope, MaxAge: c.maxAge})
	return repository, backend, err
}
