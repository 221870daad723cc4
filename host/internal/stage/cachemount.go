package stage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/cachemount"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// usedCache is a cache that a process of the build mounts.
type usedCache struct {
	key      cache.Sum
	mount    effect.Mount
	instance *cachemount.Instance
}

// acquireCaches takes the caches of a process, in the order of their keys: two processes that lock several never wait for
// each other.
func (b *builder) acquireCaches(ctx context.Context, m *mounted, mounts []effect.Mount) error {
	var wanted []*usedCache
	for _, x := range mounts {
		if x.Kind != effect.MountCache {
			continue
		}
		key, err := b.cacheKey(ctx, x)
		if err != nil {
			return fmt.Errorf("--mount=type=cache: %w", err)
		}
		wanted = append(wanted, &usedCache{key: key, mount: x})
	}
	slices.SortStableFunc(wanted, func(a, b *usedCache) int { return cmp.Compare(a.key.String(), b.key.String()) })
	for _, u := range wanted {
		if m.caches[u.mount.Target] = u; len(m.caches) > 1 {
			if i := slices.IndexFunc(wanted, func(o *usedCache) bool { return o.key == u.key && o.instance != nil }); i >= 0 {
				u.instance = wanted[i].instance
				continue
			}
		}
		var err error
		if u.instance, err = b.acquireCache(ctx, u); err != nil {
			return fmt.Errorf("--mount=type=cache: %w", err)
		}
		m.releases = append(m.releases, u.instance.Release)
	}
	return nil
}

// cacheKey is what makes a cache another one: its ID, what it starts with, and its looks.
func (b *builder) cacheKey(ctx context.Context, x effect.Mount) (cache.Sum, error) {
	e := b.engine
	var initial []cache.Input
	for _, r := range readings([]effect.Effect{effect.Exec{Mounts: []effect.Mount{x}}}) {
		in, err := e.readInputs(ctx, r, b.sourceTree, func(effect.CopySource) bool { return true })
		if err != nil {
			return cache.Sum{}, err
		}
		initial = append(initial, in...)
	}
	owners := ""
	if e.singleID {
		owners = "with a single ID"
	}
	return cache.MountSum(owners, x, initial), nil
}

// acquireCache takes a cache, made if need be of what the cache backends have of it or of the files that it starts with.
func (b *builder) acquireCache(ctx context.Context, u *usedCache) (*cachemount.Instance, error) {
	e := b.engine
	store, err := e.CacheMounts()
	if err != nil {
		return nil, err
	}
	e.useCache(u)
	return store.Acquire(ctx, cachemount.Request{
		Key: e.localKey(u.key), Sharing: u.mount.Sharing, ID: u.mount.ID,
		Fill: func(dir string) error { return b.fillCache(ctx, u, dir) },
	})
}

// localKey tells apart caches whose files have their owners on disk in different ways.
func (e *Engine) localKey(key cache.Sum) string {
	if e.form == rootfs.UserXattrs {
		return key.String() + "u"
	}
	return key.String()
}

// fillCache gives a new cache its content.
func (b *builder) fillCache(ctx context.Context, u *usedCache, dir string) error {
	e, x := b.engine, u.mount
	restored := e.restoreCache(ctx, u.key, dir)
	looks := filetree.Entry{Type: filetree.Directory, Mode: 0o755}
	if x.ReadsFiles() {
		changes, err := mountedFiles(ctx, x, "", b.sourceTree)
		if err != nil {
			return err
		}
		if looks = changes[0].Entry; looks.Type != filetree.Directory {
			return fmt.Errorf("source in %s: %q is a file, and a cache is a directory", locationName(x.From), x.Source)
		}
		if !restored {
			if err := e.putFiles(ctx, dir, changes); err != nil {
				return err
			}
		}
	}
	if x.Mode != effect.AsSource {
		looks.Mode, looks.UID, looks.GID = uint16(x.Mode&0o7777), uint32(x.UID), uint32(x.GID)
	}
	uid, gid := e.owners.OnDisk(looks.UID, looks.GID)
	return errors.Join(os.Lchown(dir, int(uid), int(gid)), unix.Chmod(dir, uint32(looks.Mode)))
}

// showCache shows a cache. Processes that share one may be at work in it: where the source leads is found out by descriptor.
func (b *builder) showCache(m *mounted, x effect.Mount) {
	show := executor.Mount{Kind: executor.MountBind, File: m.caches[x.Target].instance.Data, ReadOnly: x.Access == effect.ReadOnly}
	if x.Source != "." && !x.ReadsFiles() {
		show.SubPath = x.Source
	}
	m.add(rootfs.Target{Path: x.Target, Type: filetree.Directory}, show)
}
