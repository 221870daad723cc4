// Package export gives a cache what a build found in others. A build writes what it makes to every cache that it may write
// to; what it need not make, because one of them has it, would be missing in the rest.
package export

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"

	"github.com/trowel-build/trowel/sdk"
)

// Source is a cache that takes note of the records that were found in it.
type Source struct {
	sdk.Cache

	mu    sync.Mutex
	found map[sdk.Key][]byte
}

// Watch returns a cache that takes note.
func Watch(c sdk.Cache) *Source { return &Source{Cache: c, found: map[sdk.Key][]byte{}} }

// GetRecords returns what the cache holds.
func (s *Source) GetRecords(ctx context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	records, err := s.Cache.GetRecords(ctx, keys)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range records {
		s.found[r.Key] = r.Value
	}
	return records, err
}

// Empty says whether the cache is known to hold no records: whoever looks before a build is to see what is behind this.
func (s *Source) Empty() bool {
	known, ok := s.Cache.(interface{ Empty() bool })
	return ok && known.Empty()
}

// take gives the records found since the last time.
func (s *Source) take() map[sdk.Key][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.found
	s.found = map[sdk.Key][]byte{}
	return found
}

// To gives caches the records that were found in sources, with the blobs that they name. A record that a cache has, under
// whatever value, stays: the build may have made it anew. Of one that several sources had the first counts.
func To(ctx context.Context, caches []sdk.Cache, sources []*Source) error {
	var errs []error
	known := map[sdk.Key]bool{}
	for _, source := range sources {
		var records []sdk.Record
		for key, value := range source.take() {
			if !known[key] {
				known[key] = true
				records = append(records, sdk.Record{Key: key, Value: value})
			}
		}
		if len(records) == 0 {
			continue
		}
		for _, to := range caches {
			if to != source.Cache {
				errs = append(errs, give(ctx, to, source.Cache, records))
			}
		}
	}
	return errors.Join(errs...)
}

// give gives a cache the records that it does not have.
func give(ctx context.Context, to, from sdk.Cache, records []sdk.Record) error {
	keys := make([]sdk.Key, len(records))
	for i, r := range records {
		keys[i] = r.Key
	}
	held, err := to.GetRecords(ctx, keys)
	if err != nil {
		return fmt.Errorf("look for records: %w", err)
	}
	has := map[sdk.Key]bool{}
	for _, r := range held {
		has[r.Key] = true
	}
	missing := slices.DeleteFunc(slices.Clone(records), func(r sdk.Record) bool { return has[r.Key] })
	if len(missing) == 0 {
		return nil
	}
	if err := giveBlobs(ctx, to, from, missing); err != nil {
		return err
	}
	return to.PutRecords(ctx, missing)
}

// named finds the digests in a value, whatever its form is: some are no blobs, such as diff IDs.
var named = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// giveBlobs gives a cache those blobs of records that it does not have. One that the source has lost is left out: its record
// will be a miss, as it is in the source.
func giveBlobs(ctx context.Context, to, from sdk.Cache, records []sdk.Record) error {
	var digests []sdk.Digest
	for _, r := range records {
		for _, d := range named.FindAllString(string(r.Value), -1) {
			digests = append(digests, sdk.Digest(d))
		}
	}
	slices.Sort(digests)
	digests = slices.Compact(digests)
	if len(digests) == 0 {
		return nil
	}
	blobs, err := from.StatBlobs(ctx, digests)
	if err != nil {
		return fmt.Errorf("look for blobs: %w", err)
	}
	held, err := to.StatBlobs(ctx, digests)
	if err != nil {
		return fmt.Errorf("look for blobs: %w", err)
	}
	for _, b := range blobs {
		if slices.ContainsFunc(held, func(h sdk.Blob) bool { return h.Digest == b.Digest }) {
			continue
		}
		content, err := from.GetBlob(ctx, b.Digest)
		if errors.Is(err, sdk.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := to.PutBlob(ctx, b, content); err != nil {
			return err
		}
	}
	return nil
}
