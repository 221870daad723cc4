// Package expiring makes a cache's records go out of date. Blobs stay: what no record names is not asked for.
//
// The time stands before a record's value, and the record under a key of its own, so that the cache can be used by others
// as well.
package expiring

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

const (
	keyPrefix = "dated/"
	stampSize = 8
)

// Cache is a cache whose records are believed for a while.
type Cache struct {
	sdk.Cache
	maxAge time.Duration
	now    func() time.Time
}

// New wraps a cache. maxAge is how old a record may be, and more than 0.
func New(inner sdk.Cache, maxAge time.Duration) (*Cache, error) {
	if maxAge <= 0 {
		return nil, fmt.Errorf("records cannot hold for %s", maxAge)
	}
	return &Cache{Cache: inner, maxAge: maxAge, now: time.Now}, nil
}

// GetRecords returns the records that are young enough.
func (c *Cache) GetRecords(ctx context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	dated := make([]sdk.Key, len(keys))
	for i, k := range keys {
		dated[i] = keyPrefix + k
	}
	found, err := c.Cache.GetRecords(ctx, dated)
	if err != nil {
		return nil, err
	}
	var young []sdk.Record
	for _, r := range found {
		if len(r.Key) < len(keyPrefix) || len(r.Value) < stampSize {
			continue
		}
		at := time.Unix(int64(binary.BigEndian.Uint64(r.Value)), 0) //nolint:gosec // seconds since the epoch
		if c.now().Sub(at) <= c.maxAge {
			young = append(young, sdk.Record{Key: r.Key[len(keyPrefix):], Value: r.Value[stampSize:]})
		}
	}
	return young, nil
}

// PutRecords stores records with the time.
func (c *Cache) PutRecords(ctx context.Context, records []sdk.Record) error {
	stamp := binary.BigEndian.AppendUint64(nil, uint64(c.now().Unix())) //nolint:gosec // after the epoch
	dated := make([]sdk.Record, len(records))
	for i, r := range records {
		if r.Key == "" {
			return fmt.Errorf("put record: the key is empty")
		}
		dated[i] = sdk.Record{Key: keyPrefix + r.Key, Value: append(stamp[:stampSize:stampSize], r.Value...)}
	}
	return c.Cache.PutRecords(ctx, dated)
}

var _ sdk.Cache = (*Cache)(nil)
