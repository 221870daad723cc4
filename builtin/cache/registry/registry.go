// Package registry is the cache in a repository of a container registry, which every CI job can reach that can push.
//
// A record is a manifest under a tag of its own, "trowel-" and the SHA-256 of its key: an OCI artifact whose annotations
// hold key and value, and whose layers are the blobs that the value names and the repository has. So a registry's garbage
// collection keeps what a record needs, and a look-up takes one request, which tells of the blobs as well. Other tags of
// the repository, such as those of kaniko's cache, are left alone.
//
// With a scope, tags begin with that: "main-trowel-…" is another cache in the same repository.
//
//	registry.go  what a repository has to offer    record.go  records as manifests    blob.go  blobs
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// Manifests are those of one repository.
type Manifests interface {
	// Manifest returns what a tag names, or an error wrapping [sdk.ErrNotFound].
	Manifest(ctx context.Context, tag string) ([]byte, error)
	// PutManifest stores a manifest under a tag. What it refers to is there.
	PutManifest(ctx context.Context, tag, mediaType string, manifest []byte) error
}

// Blobs are those of one repository.
type Blobs interface {
	// StatBlob returns the length of a blob, or an error wrapping [sdk.ErrNotFound].
	StatBlob(ctx context.Context, digest sdk.Digest) (int64, error)
	// OpenBlob opens a blob, verified while it is read.
	OpenBlob(ctx context.Context, blob sdk.Blob) (io.ReadCloser, error)
	// PushBlob makes the repository have a blob, whole or not at all.
	PushBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) error
}

// Repository is where the cache is.
type Repository interface {
	Manifests
	Blobs
}

// Config says where the cache is and how long its records hold.
type Config struct {
	Repository Repository
	Scope      string        // tells caches in one repository apart: it stands before the tags of its records
	MaxAge     time.Duration // of a record that is believed; 0 means any
}

// Cache is a cache in a repository.
type Cache struct {
	repository Repository
	prefix     string // of its tags
	maxAge     time.Duration
	now        func() time.Time

	mu    sync.Mutex
	sizes map[sdk.Digest]int64 // of blobs that the repository is known to have
}

// New returns the cache. It asks the repository nothing yet.
func New(config Config) (*Cache, error) {
	if config.Repository == nil {
		return nil, errors.New("open registry cache: no repository is given")
	}
	if config.MaxAge < 0 {
		return nil, fmt.Errorf("open registry cache: the age of %s is negative", config.MaxAge)
	}
	prefix := tagPrefix
	if config.Scope != "" {
		if !validScope.MatchString(config.Scope) {
			return nil, fmt.Errorf("open registry cache: %q cannot stand before the tags of its records: at most 56 letters, digits, '.', '_' and '-' can", config.Scope)
		}
		prefix = config.Scope + "-" + tagPrefix
	}
	return &Cache{repository: config.Repository, prefix: prefix, maxAge: config.MaxAge, now: time.Now, sizes: map[sdk.Digest]int64{}}, nil
}

var _ sdk.Cache = (*Cache)(nil)

func (c *Cache) know(blob sdk.Blob) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sizes[blob.Digest] = blob.Size
}

func (c *Cache) known(digest sdk.Digest) (sdk.Blob, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size, ok := c.sizes[digest]
	return sdk.Blob{Digest: digest, Size: size}, ok
}

// atOnce is how many requests are under way at a time.
const atOnce = 16

// each does something for each of a list, several at once, and returns the first error.
func each[T any](ctx context.Context, all []T, do func(ctx context.Context, x T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for _, x := range all {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := do(ctx, x); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
