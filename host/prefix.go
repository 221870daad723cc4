package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/internal/blob"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/lower"
	"github.com/trowel-build/trowel/host/internal/plan"
	"github.com/trowel-build/trowel/host/internal/stage"
	"github.com/trowel-build/trowel/sdk"
)

// stageTree builds a stage as far as the instructions above one make it, for a plugin to read. The build proper finds what
// was made here, whatever caches it uses.
func (b *build) stageTree(ctx context.Context, p *plan.Plan, lowered loweredStages, before lower.Before) (_ *filetree.Tree, err error) {
	if b.own == nil {
		b.own = &ownCache{store: b.store, records: map[sdk.Key][]byte{}}
		b.tiers = b.tiers.WithOwn(b.own)
	}
	at := slices.IndexFunc(p.Stages, func(s *plan.Stage) bool { return s.ID == before.Stage.ID })
	part := p.UpTo(at)
	all := maps.Clone(lowered)
	all[before.Stage.ID] = before.Lowered
	dir := filepath.Join(b.work.trees, fmt.Sprintf("prefix-%d", len(b.parts)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	o := b.engineOptions([]*plan.Plan{part}, all)
	o.Dir, o.Progress = dir, &uncached{to: o.Progress, held: map[string]*heldStep{}}
	engine, err := stage.New(o)
	if err != nil {
		return nil, err
	}
	b.parts = append(b.parts, engine)
	defer func() { err = errors.Join(err, engine.Wait()) }()
	results, err := engine.Build(ctx)
	if err != nil {
		return nil, err
	}
	return results[0].Tree(ctx)
}

// waitParts waits until all that is read of the parts has arrived, and says what was wrong with it.
func (b *build) waitParts() error {
	var errs []error
	for _, engine := range b.parts {
		errs = append(errs, engine.Wait())
	}
	return errors.Join(errs...)
}

// ownCache is what this build made, for this build. Its blobs are those of the working store.
type ownCache struct {
	store *blob.Store

	mu      sync.Mutex
	records map[sdk.Key][]byte
}

var _ sdk.Cache = (*ownCache)(nil)

// GetRecords is [sdk.RecordStore]'s.
func (c *ownCache) GetRecords(_ context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []sdk.Record
	for _, k := range keys {
		if v, ok := c.records[k]; ok {
			found = append(found, sdk.Record{Key: k, Value: v})
		}
	}
	return found, nil
}

// PutRecords is [sdk.RecordStore]'s.
func (c *ownCache) PutRecords(_ context.Context, records []sdk.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range records {
		c.records[r.Key] = r.Value
	}
	return nil
}

// StatBlobs is [sdk.BlobReader]'s.
func (c *ownCache) StatBlobs(ctx context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	var held []sdk.Blob
	for _, d := range digests {
		if b, err := c.store.Get(digest.Digest(d)); err == nil {
			_, size, err := b.Wait(ctx)
			if err != nil {
				return nil, err
			}
			held = append(held, sdk.Blob{Digest: d, Size: size})
		}
	}
	return held, nil
}

// GetBlob is [sdk.BlobReader]'s.
func (c *ownCache) GetBlob(_ context.Context, d sdk.Digest) (sdk.Content, error) {
	b, err := c.store.Get(digest.Digest(d))
	if err != nil {
		return sdk.Content{}, sdk.ErrNotFound
	}
	return stage.BlobContent(b), nil
}

// PutBlob is [sdk.BlobWriter]'s. Layers are in the working store already; indexes are not.
func (c *ownCache) PutBlob(ctx context.Context, b sdk.Blob, content sdk.Content) (err error) {
	if _, err := c.store.Get(digest.Digest(b.Digest)); err == nil {
		return nil
	}
	r, err := content.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	w, err := c.store.Create(ctx)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, r); err != nil {
		return errors.Join(err, w.Abort(err))
	}
	_, err = w.CommitAs(ctx, digest.Digest(b.Digest))
	return err
}
