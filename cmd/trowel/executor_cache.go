package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/trowel-build/trowel/builtin/cache/expiring"
	"github.com/trowel-build/trowel/builtin/cache/local"
	"github.com/trowel-build/trowel/host"
)

// layoutPrefix marks a --cache-repo that is a directory.
const layoutPrefix = "oci:"

// applyCache says where base images are kept, and where steps are if --cache is given.
func (o *executorFlags) applyCache(j *executorJob) error {
	j.flags.localHolds = host.CacheBases
	if dir := baseCache(o.cacheDir); dir != "" {
		j.flags.cacheDir = dir
	}
	if !o.cache {
		return nil
	}
	o.cacheTTL = max(o.cacheTTL, time.Nanosecond) // as with kaniko, nothing is young enough for 0
	at, err := o.cacheRepository()
	if err != nil {
		return err
	}
	c := host.Cache{Name: at}
	if o.noPushCache {
		c.Roles = []string{"read"}
	}
	if dir, ok := strings.CutPrefix(at, layoutPrefix); ok {
		err = o.openDirectory(j, &c, dir)
	} else {
		err = o.openRepository(j, &c, at)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open --cache-repo %q: %w", at, err), j.close())
	}
	j.request.Caches = append(j.request.Caches, c)
	return nil
}

// baseCache is the directory of base images below kaniko's, which may hold what kaniko itself keeps there; empty if there is
// no such directory.
func baseCache(dir string) string {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return ""
	}
	return filepath.Join(dir, "trowel")
}

// cacheRepository is the repository that is the cache: below the first destination unless it is named.
func (o *executorFlags) cacheRepository() (string, error) {
	if o.cacheRepo != "" {
		return o.cacheRepo, nil
	}
	if len(o.destinations) == 0 {
		return "", usageError{errors.New("--cache without a --destination needs a --cache-repo")}
	}
	n, err := host.ParseName(o.destinations[0])
	if err != nil {
		return "", badDestination(o.destinations[0], err)
	}
	return n.Repository() + "/cache", nil
}

// openDirectory opens a cache in a directory, which may hold a cache of kaniko's: an OCI layout.
func (o *executorFlags) openDirectory(j *executorJob, c *host.Cache, dir string) error {
	held, err := local.Open(local.Config{Dir: filepath.Join(dir, "trowel"), MaxSize: int64(j.settings.Build.CacheSize)})
	if err != nil {
		return err
	}
	j.opened = append(j.opened, held)
	c.Backend, err = expiring.New(held, o.cacheTTL)
	return err
}

// openRepository opens a cache in a repository of a registry.
func (o *executorFlags) openRepository(j *executorJob, c *host.Cache, name string) error {
	r := j.request
	if !o.noPushCache && (o.insecure || o.skipVerify) { // it is pushed to as the image is
		all, _, err := o.registryFlags.apply(r.Registries, []string{name})
		if err != nil {
			return err
		}
		r.Registries = all
	}
	repository, backend, err := openRegistryCache(repositoryCache{name: name, maxAge: o.cacheTTL}, &r)
	if err != nil {
		return err
	}
	j.opened = append(j.opened, repository)
	c.Backend, c.Repository, c.Place = backend, name, host.CacheRemote
	return nil
}
