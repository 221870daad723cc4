package cache

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/sdk"
)

// PutBlob stores a blob in every backend that is written to.
func (t *Tiers) PutBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) {
	t.write(ctx, "put blob "+string(blob.Digest), func(c sdk.Cache) error { return c.PutBlob(ctx, blob, content) })
}

// PutBaseBlob stores a blob of a base image in the backends on this machine: others are no nearer than where it is from.
func (t *Tiers) PutBaseBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) {
	t.only(func(b *backend) bool { return b.Place == Near }).PutBlob(ctx, blob, content)
}

// PutRecords stores records in every backend that is written to. What they name must be stored before.
func (t *Tiers) PutRecords(ctx context.Context, records []sdk.Record) {
	t.write(ctx, "put records", func(c sdk.Cache) error { return c.PutRecords(ctx, records) })
}

func (t *Tiers) write(ctx context.Context, what string, put func(sdk.Cache) error) {
	var g errgroup.Group
	for _, b := range t.tiers {
		if !b.writable() {
			continue
		}
		g.Go(func() error {
			if err := put(b.Cache); err != nil {
				t.fault(ctx, b, &b.writes, what, err)
				return nil
			}
			b.writes.worked()
			return nil
		})
	}
	_ = g.Wait()
}
