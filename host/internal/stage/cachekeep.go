package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/layer"
	"github.com/trowel-build/trowel/host/internal/rootfs"
	"github.com/trowel-build/trowel/host/internal/snapshot"
	"github.com/trowel-build/trowel/sdk"
)

// The content of a cache mount is kept in the cache backends that are elsewhere as one layer, with a record that names it:
// what a step leaves there is kept in the same way.

// useCache remembers a cache, to be kept at the end of the build.
func (e *Engine) useCache(u *usedCache) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.usedCaches[u.key] = u
}

// restoreCache fills a new cache with what the backends have of it. A failure is a warning: the cache is empty then.
func (e *Engine) restoreCache(ctx context.Context, key cache.Sum, dir string) bool {
	remote := e.Cache.Remote()
	if remote.Empty() {
		return false
	}
	record, ok := cache.Step(remote.Records(ctx, []sdk.Key{cache.MountKey(key)}), cache.MountKey(key))
	if !ok {
		return false
	}
	err := e.unpackCache(ctx, record, dir)
	if err == nil {
		return true
	}
	if ctx.Err() == nil {
		e.warn(fmt.Sprintf("cache mount: it is not taken from the cache: %v", err))
	}
	_ = errors.Join(rootfs.RemoveAll(dir), os.Mkdir(dir, 0o755)) // whoever fills it next finds out
	return false
}

func (e *Engine) unpackCache(ctx context.Context, record cache.Record, dir string) error {
	l := e.recordedLayer(record)
	x, err := l.Index(ctx)
	if err != nil {
		return err
	}
	losses, err := rootfs.UnpackMerged(ctx, dir, []rootfs.Layer{{
		Entries: x.Entries,
		Read: func(ctx context.Context, visit func(filetree.Entry, io.Reader) error) error {
			_, err := e.read(ctx, l, visitFunc(visit))
			return err
		},
	}}, e.trees())
	e.warnLosses(losses)
	return err
}

// KeepCaches stores what the build's cache mounts hold now in the backends that are elsewhere, if it changed. Failures are
// warnings.
func (e *Engine) KeepCaches(ctx context.Context) {
	remote := e.Cache.Remote()
	if remote.ReadOnly() {
		return
	}
	var g errgroup.Group
	g.SetLimit(2)
	for _, u := range e.usedCaches {
		g.Go(func() error {
			if err := e.keepCache(ctx, remote, u); err != nil && ctx.Err() == nil {
				e.warn(fmt.Sprintf("cache mount %q: it is not stored in the cache: %v", u.mount.ID, err))
			}
			return nil
		})
	}
	_ = g.Wait()
}

func (e *Engine) keepCache(ctx context.Context, remote *cache.Tiers, u *usedCache) (err error) {
	store, err := e.CacheMounts()
	if err != nil {
		return err
	}
	in, err := store.Idle(e.localKey(u.key))
	if in == nil || err != nil {
		return err // another build is at work in it, and will keep it
	}
	defer func() { err = errors.Join(err, in.Release()) }()
	changes, err := snapshot.Upper(ctx, in.Path(), filetree.Empty(), snapshot.Options{Form: e.form, Owners: e.owners})
	if err != nil {
		return err
	}
	state := cache.TreeState(changes)
	if len(changes) == 0 || in.Info.Kept == state {
		return nil
	}
	pending, err := layer.Start(ctx, e.Store, changes, layer.Options{Compression: image.Zstd})
	if err != nil {
		return err
	}
	made, err := pending.Wait()
	if err != nil {
		return err
	}
	if kept, err := e.putCache(ctx, remote, u, made); !kept || err != nil {
		return err
	}
	return in.SetKept(state)
}

// putCache stores a layer, and says whether the backends have it then: what failed has been told.
func (e *Engine) putCache(ctx context.Context, remote *cache.Tiers, u *usedCache, made *layer.Layer) (kept bool, err error) {
	index, err := layer.EncodeIndex(made.Index)
	if err != nil {
		return false, err
	}
	desc, err := made.Blob.Descriptor(ctx)
	if err != nil {
		return false, err
	}
	mediaType, err := image.LayerMediaType(image.OCI, made.Compression)
	if err != nil {
		return false, err
	}
	r := cache.LayerRecord{
		DiffID: made.DiffID.String(), Below: cache.ImageChain(nil).String(), Blob: sdk.Digest(desc.Digest), Size: desc.Size,
		MediaType: mediaType, Index: sdk.Digest(digest.FromBytes(index)), IndexSize: int64(len(index)), Created: e.Created.Unix(),
	}
	value, err := cache.Record{Layer: r}.Encode()
	if err != nil {
		return false, err
	}
	remote.PutBlob(ctx, sdk.Blob{Digest: r.Index, Size: r.IndexSize}, bytesContent(index))
	remote.PutBlob(ctx, sdk.Blob{Digest: r.Blob, Size: r.Size}, BlobContent(made.Blob))
	remote.PutRecords(ctx, []sdk.Record{{Key: cache.MountKey(u.key), Value: value}})
	held := remote.Held(ctx, []sdk.Digest{r.Index, r.Blob})
	return remote.Empty() || held[r.Index] && held[r.Blob], nil
}
