package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/trowel-build/trowel/host/internal/cachemount"
)

// openCacheMounts opens the directory of cache mounts when the first one is used: the one that was asked for, or, where
// there is none that can be written to, one that ends with the build.
func (b *build) openCacheMounts() (*cachemount.Store, error) {
	if b.CacheMounts.Dir != "" {
		s, err := cachemount.Open(b.CacheMounts.Dir)
		if err == nil {
			b.keptMounts = s
			return s, nil
		}
		b.progress().Report(warning(fmt.Sprintf("cache mounts end with the build: %v", err)))
	}
	return cachemount.Open(filepath.Join(b.work.dir, "mounts"))
}

// limitCacheMounts removes the cache mounts that were not used for longest, where all are larger than they may be.
func (b *build) limitCacheMounts(ctx context.Context) {
	if b.keptMounts == nil || b.CacheMounts.MaxSize == 0 {
		return
	}
	if _, err := b.keptMounts.Prune(ctx, cachemount.Limits{Keep: b.CacheMounts.MaxSize}); err != nil && ctx.Err() == nil {
		b.progress().Report(warning(fmt.Sprintf("cache mounts: %v", err)))
	}
}

// CacheMount is a cache mount as it lies on this machine.
type CacheMount = cachemount.Entry

// CacheMountLimits say which cache mounts are removed.
type CacheMountLimits = cachemount.Limits

// CacheMountScope says how many cache mounts may be removed whatever their age: "" for none, "all" for all.
type CacheMountScope = cachemount.Scope

// FreedCacheMounts says what was removed.
type FreedCacheMounts = cachemount.Freed

// ListCacheMounts lists the cache mounts in a directory, the least recently used first.
func ListCacheMounts(ctx context.Context, dir string) ([]CacheMount, error) {
	s, err := cachemount.Open(dir)
	if err != nil {
		return nil, err
	}
	all, err := s.List(ctx)
	return all, inNamespace(err)
}

// PruneCacheMounts removes cache mounts that nobody is using.
func PruneCacheMounts(ctx context.Context, dir string, limits CacheMountLimits) (FreedCacheMounts, error) {
	s, err := cachemount.Open(dir)
	if err != nil {
		return FreedCacheMounts{}, err
	}
	freed, err := s.Prune(ctx, limits)
	return freed, inNamespace(err)
}

// inNamespace adds to the kernel's refusal that files of other IDs are those of a user namespace: there they can be read
// and removed.
func inNamespace(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return errors.Join(err, ErrNeedsUserNamespace)
	}
	return err
}
