package cache

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/sdk"
)

// PutBlob stores a blob in every backend that is written to and keeps more than base images.
func (t *Tiers) PutBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) {
	t.only(func(b *backend) bool { return b.Reach != Bases }).PutIndexBlob(ctx, blob, content)
}

// PutBaseBlob stores a blob of a base image in the backends on this machine: others are no nearer than where it is from.
func (t *Tiers) PutBaseBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) {
	t.only(func(b *backend) bool { return b.Place == Near }).PutIndexBlob(ctx, blob, content)
}

// PutIndexBlob stores the index of a base's layer in every backend that is written to.
func (t *Tiers) PutIndexBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) {
	t.write(ctx, "put blob "+string(blob.Digest), func(b *backend) error { return b.Cache.PutBlob(ctx, blob, content) })
}

// PutRecords stores records in every backend that is written to. What they name must be stored before.
func (t *Tiers) PutRecords(ctx context.Context, records []sdk.Record) {
	t.write(ctx, "put records", func(b *backend) error {
		concerned := slices.DeleteFunc(slices.Clone(records), func(r sdk.Record) bool { return len(b.concerned([]sdk.Key{r.Key})) == 0 })
		if len(concerned) == 0 {
			return nil
		}
		return b.Cache.PutRecords(ctx, concerned)
	})
}

// concerned are those of the keys that a backend has a record of, or would.
func (b *backend) concerned(keys []sdk.Key) []sdk.Key {
	if b.Reach != Bases {
		return keys
	}
	return slices.DeleteFunc(slices.Clone(keys), func(k sdk.Key) bool { return !isIndexKey(k) })
}

func (t *Tiers) write(ctx context.Context, what string, put func(*backend) error) {
	var g errgroup.Group
	for _, b := range t.tiers {
		if !b.writable() {
			continue
		}
		g.Go(func() error {
			if err := put(b); err != nil {
				t.fault(ctx, b, &b.writes, what, err)
				return nil
			}
			b.writes.worked()
			return nil
		})
	}
	_ = g.Wait()
}
