package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/sdk"
)

// Records looks keys up: those that no backend on this machine has in the remote ones, each asked once. Where several hold
// a key the first one's record is taken. The presence of a key that has no step's record, such as a seen key, is told by the
// raw value.
func (t *Tiers) Records(ctx context.Context, keys []sdk.Key) map[sdk.Key][]byte {
	keys = slices.Compact(slices.Sorted(slices.Values(keys))) // stages may share steps
	answers := make([][]sdk.Record, len(t.tiers))
	t.ask(ctx, Near, keys, answers)
	found := pick(keys, answers)
	var missing []sdk.Key
	for _, k := range keys {
		if _, ok := found[k]; !ok {
			missing = append(missing, k)
		}
	}
	if len(missing) > 0 {
		t.ask(ctx, Remote, missing, answers)
		found = pick(keys, answers)
	}
	t.fillRecords(ctx, answers, found)
	return found
}

// ask asks all backends of a place at once.
func (t *Tiers) ask(ctx context.Context, at Place, keys []sdk.Key, answers [][]sdk.Record) {
	var g errgroup.Group
	for i, b := range t.tiers {
		keys := b.concerned(keys)
		if b.Place != at || !b.readable() || len(keys) == 0 {
			continue
		}
		g.Go(func() error {
			got, err := b.Cache.GetRecords(ctx, keys)
			if err != nil {
				t.fault(ctx, b, &b.reads, "look up records", err)
				return nil
			}
			b.reads.worked()
			answers[i] = got
			return nil
		})
	}
	_ = g.Wait()
}

// pick takes the answers to what was asked, of several the first.
func pick(keys []sdk.Key, answers [][]sdk.Record) map[sdk.Key][]byte {
	asked := make(map[sdk.Key]bool, len(keys))
	for _, k := range keys {
		asked[k] = true
	}
	found := map[sdk.Key][]byte{}
	for i := len(answers) - 1; i >= 0; i-- {
		for _, r := range answers[i] {
			if asked[r.Key] {
				found[r.Key] = r.Value
			}
		}
	}
	return found
}

// fillRecords puts records that only a slower backend held into the faster ones, in the background.
func (t *Tiers) fillRecords(ctx context.Context, answers [][]sdk.Record, found map[sdk.Key][]byte) {
	held := map[sdk.Key]bool{} // by the backends so far
	for i, b := range t.tiers {
		for _, r := range answers[i] {
			held[r.Key] = true
		}
		if !b.readable() || !b.writable() || b.Place != Near {
			continue
		}
		var missing []sdk.Record
		for key, value := range found {
			if !held[key] && len(b.concerned([]sdk.Key{key})) > 0 {
				missing = append(missing, sdk.Record{Key: key, Value: value})
			}
		}
		if len(missing) > 0 {
			t.fills.Go(func() {
				if err := b.Cache.PutRecords(ctx, missing); err != nil {
					t.fault(ctx, b, &b.writes, "fill records", err)
				}
			})
		}
	}
}

// Wait waits until faster backends have what was found in slower ones.
func (t *Tiers) Wait() { t.fills.Wait() }

// OwnRecords looks up what this very build made.
func (t *Tiers) OwnRecords(ctx context.Context, keys []sdk.Key) map[sdk.Key][]byte {
	return t.only(func(b *backend) bool { return b.Reach == Own }).Records(ctx, keys)
}

// Step reads the record of a step from what [Tiers.Records] found.
func Step(found map[sdk.Key][]byte, key sdk.Key) (Record, bool) {
	value, ok := found[key]
	if !ok {
		return Record{}, false
	}
	return decode(value)
}

// Found is a blob in one of the backends.
type Found struct {
	sdk.Content
	Name   string // of the backend
	before *Tiers // the faster backends
}

// Blob returns the content of a blob from the first backend that holds it, or an error wrapping [sdk.ErrNotFound]. The
// bytes are not verified yet: whoever reads them checks their digest.
func (t *Tiers) Blob(ctx context.Context, digest sdk.Digest) (Found, error) {
	for i, b := range t.tiers {
		if !b.readable() || t.damaged[string(digest)] {
			continue
		}
		content, err := b.Cache.GetBlob(ctx, digest)
		if err == nil {
			b.reads.worked()
			return Found{content, b.Name, t.with(t.tiers[:i])}, nil
		}
		if !errors.Is(err, sdk.ErrNotFound) {
			t.fault(ctx, b, &b.reads, "get blob "+string(digest), err)
		}
	}
	return Found{}, fmt.Errorf("blob %s: %w", digest, sdk.ErrNotFound)
}

// Fill puts the blob, read and verified by now, into the backends on this machine before the one it was found in.
func (f Found) Fill(ctx context.Context, blob sdk.Blob, content sdk.Content) {
	f.before.PutBaseBlob(ctx, blob, content)
}

// Held returns those of the blobs that some backend holds. Each is asked for what those before it do not hold.
func (t *Tiers) Held(ctx context.Context, digests []sdk.Digest) map[sdk.Digest]bool {
	held := map[sdk.Digest]bool{}
	for _, b := range t.tiers {
		var missing []sdk.Digest
		for _, d := range digests {
			if !held[d] && !t.damaged[string(d)] && !slices.Contains(missing, d) { // steps may share a layer
				missing = append(missing, d)
			}
		}
		if !b.readable() || len(missing) == 0 {
			continue
		}
		blobs, err := b.Cache.StatBlobs(ctx, missing)
		if err != nil {
			t.fault(ctx, b, &b.reads, "look up blobs", err)
			continue
		}
		b.reads.worked()
		for _, blob := range blobs {
			held[blob.Digest] = !t.damaged[string(blob.Digest)]
		}
	}
	return held
}
