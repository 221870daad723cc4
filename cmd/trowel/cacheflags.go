package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/builtin/cache/local"
	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/host/config"
)

// cacheDirection is one of the two flags.
type cacheDirection string

// The flags, by their names.
const (
	cacheFrom cacheDirection = "cache-from"
	cacheTo   cacheDirection = "cache-to"
)

// role is what the flag uses a backend for.
func (d cacheDirection) role() string {
	if d == cacheFrom {
		return "read"
	}
	return "write"
}

// cachePlace is a value of --cache-from or --cache-to: a repository, or else a directory.
type cachePlace struct {
	repository, scope, dir string
	ignored                []string // keys that mean nothing here
}

// name is how messages call it.
func (c cachePlace) name() string {
	switch {
	case c.dir != "":
		return c.dir
	case c.scope != "":
		return c.repository + ":" + c.scope
	}
	return c.repository
}

// cacheKeys are BuildKit's keys by type and direction: those that say where, and those that mean nothing here, for every step
// is kept as it is in the image.
var cacheKeys = map[string]map[cacheDirection]struct{ where, ignored []string }{
	"registry": {
		cacheFrom: {[]string{"ref"}, nil},
		cacheTo:   {[]string{"ref"}, idleCacheKeys},
	},
	"local": {
		cacheFrom: {[]string{"src"}, []string{"tag"}},
		cacheTo:   {[]string{"dest"}, append(slices.Clone(idleCacheKeys), "tag")},
	},
}

var idleCacheKeys = []string{"mode", "compression", "compression-level", "force-compression", "oci-mediatypes", "image-manifest", "ignore-error"}

// elsewhere says what does instead of the types that there are not.
var elsewhere = map[string]string{
	"inline": "an image holds no cache of Trowel's: use type=registry,ref=REPOSITORY, for --cache-from as well",
	"gha":    "use type=registry,ref=ghcr.io/OWNER/NAME/cache, or type=local with a directory that the job keeps",
	"s3":     "use the plugin builtin:s3 in trowel.toml, which keeps the cache in a bucket",
	"azblob": "use type=registry,ref=REPOSITORY, or write a plugin: trowel plugin new cache NAME",
}

// parseCachePlace reads a value as buildx does: key=value pairs, or references alone.
func parseCachePlace(flag cacheDirection, text string) ([]cachePlace, error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return nil, fmt.Errorf("want type=registry,ref=REPOSITORY: %w", err)
	}
	if !slices.ContainsFunc(fields, func(f string) bool { return strings.Contains(f, "=") }) {
		var all []cachePlace
		for _, f := range fields {
			c, err := repositoryPlace(f)
			if err != nil {
				return nil, err
			}
			all = append(all, c)
		}
		return all, nil
	}
	values := map[string]string{}
	for _, f := range fields {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			return nil, fmt.Errorf("%q: want key=value", f)
		}
		values[strings.ToLower(strings.TrimSpace(key))] = value
	}
	c, err := placeOf(flag, values)
	return []cachePlace{c}, err
}

// placeOf reads the pairs of a value.
func placeOf(flag cacheDirection, values map[string]string) (c cachePlace, err error) {
	kind := values["type"]
	known, ok := cacheKeys[kind]
	if cure := elsewhere[kind]; cure != "" {
		return c, hinted{fmt.Errorf("type=%s is not supported", kind), cure}
	}
	if !ok {
		return c, fmt.Errorf("type %q: want registry or local", kind)
	}
	keys := known[flag]
	for _, key := range slices.Sorted(maps.Keys(values)) {
		switch {
		case key == "type" || slices.Contains(keys.where, key):
		case key == "mode" && !slices.Contains([]string{"min", "max"}, values[key]):
			return c, fmt.Errorf("mode %q: want min or max", values[key])
		case slices.Contains(keys.ignored, key):
			c.ignored = append(c.ignored, key)
		default:
			err := fmt.Errorf("unknown key %q of type=%s", key, kind)
			if near := config.Nearest(key, slices.Concat(keys.where, keys.ignored)); near != "" {
				return c, hinted{err, "did you mean " + near + "?"}
			}
			return c, err
		}
	}
	at := values[keys.where[0]]
	if at == "" {
		return c, fmt.Errorf("type=%s needs %s", kind, keys.where[0])
	}
	if kind == "local" {
		c.dir, err = filepath.Abs(at)
		return c, err
	}
	named, err := repositoryPlace(at)
	named.ignored = c.ignored
	return named, err
}

// repositoryPlace reads a reference. Its tag tells caches in one repository apart; "latest" is that which has none.
func repositoryPlace(reference string) (cachePlace, error) {
	n, err := host.ParseName(reference)
	if err != nil {
		return cachePlace{}, err
	}
	if strings.Contains(reference, "@") {
		return cachePlace{}, fmt.Errorf("%q: a digest is out of place here: a cache changes", reference)
	}
	if n.Tag == "latest" {
		n.Tag = ""
	}
	return cachePlace{repository: n.Repository(), scope: n.Tag}, nil
}

// flagCaches opens what --cache-from and --cache-to name. A place that both name is one backend.
func (o *opened) flagCaches(f *buildFlags, settings config.Config, r *host.Request) error {
	var order []string
	places, roles := map[string]cachePlace{}, map[string][]string{}
	ignored := map[string]bool{}
	for _, flag := range []cacheDirection{cacheFrom, cacheTo} {
		for _, text := range map[cacheDirection][]string{cacheFrom: f.cacheFrom, cacheTo: f.cacheTo}[flag] {
			found, err := parseCachePlace(flag, text)
			if err != nil {
				return usageError{fmt.Errorf("--%s %q: %w", flag, text, err)}
			}
			for _, c := range found {
				if _, ok := places[c.name()]; !ok {
					order = append(order, c.name())
					places[c.name()] = c
				}
				if !slices.Contains(roles[c.name()], flag.role()) {
					roles[c.name()] = append(roles[c.name()], flag.role())
				}
				for _, key := range c.ignored {
					ignored[key] = true
				}
			}
		}
	}
	if len(ignored) > 0 {
		o.inform("keys of --cache-from and --cache-to without a meaning here, where every step is kept as the image has it: %s", strings.Join(slices.Sorted(maps.Keys(ignored)), ", "))
	}
	for _, name := range order {
		if err := o.flagCache(places[name], roles[name], settings, r); err != nil {
			return fmt.Errorf("open cache %q: %w", name, err)
		}
	}
	return nil
}

// flagCache opens one. A directory that is only read and not there yet is no cache.
func (o *opened) flagCache(at cachePlace, roles []string, settings config.Config, r *host.Request) error {
	c := host.Cache{Name: at.name(), Roles: roles, Place: host.CacheRemote, Repository: at.repository}
	if at.dir == "" {
		repository, backend, err := openRegistryCache(repositoryCache{name: at.repository, scope: at.scope}, r)
		if err != nil {
			return err
		}
		o.closers, c.Backend = append(o.closers, repository), backend
	} else {
		dir := filepath.Join(at.dir, "trowel") // what BuildKit keeps in the directory stays
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) && !slices.Contains(roles, "write") {
			o.inform("there is no cache in %q yet", at.dir)
			return nil
		}
		backend, err := local.Open(local.Config{Dir: dir, MaxSize: int64(settings.Build.CacheSize)})
		if err != nil {
			return err
		}
		o.closers, c.Backend = append(o.closers, backend), backend
		r.Keep = append(r.Keep, dir)
	}
	if slices.Contains(roles, "write") {
		o.exports = append(o.exports, c.Backend)
	}
	r.Caches = append(r.Caches, c)
	return nil
}
