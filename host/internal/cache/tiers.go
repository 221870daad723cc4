package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/sdk"
)

// Tier is one backend in the order that the user gave, the fastest first.
type Tier struct {
	Name  string
	Cache sdk.Cache
	Roles Roles
	// Reach says what the backend holds.
	Reach Reach
	// Place says where the backend is.
	Place Place
}

// Place says where a backend is.
type Place string

// The places of backends.
const (
	Near   Place = ""       // on this machine: blobs of base images are kept as well
	Remote Place = "remote" // as far as the registries that base images come from
)

// Reach says whose work a backend holds.
type Reach string

// The reaches of backends.
const (
	Shared Reach = ""      // that of earlier builds
	Own    Reach = "build" // what this very build made, which holds even where nothing is to be taken from a cache
)

// Roles says what a backend is used for.
type Roles uint8

// The roles of a backend, to be combined.
const (
	Read Roles = 1 << iota
	Write
)

// Tiers is an ordered list of backends as one. A backend that fails is reported with warn and otherwise counts as empty: a
// cache never fails a build.
type Tiers struct {
	tiers   []Tier
	damaged map[string]bool
	warn    func(text string)
	fills   *sync.WaitGroup // of faster backends
}

// NewTiers joins backends. Blobs whose digest is in damaged count as missing: somebody read them and found another
// digest. warn may be called from several goroutines.
func NewTiers(tiers []Tier, damaged map[string]bool, warn func(text string)) *Tiers {
	return &Tiers{tiers: tiers, damaged: damaged, warn: warn, fills: &sync.WaitGroup{}}
}

// WithOwn is t with a backend before all others for what this very build makes.
func (t *Tiers) WithOwn(c sdk.Cache) *Tiers {
	own := Tier{Name: "this build", Cache: c, Roles: Read | Write, Reach: Own}
	return &Tiers{tiers: append([]Tier{own}, t.tiers...), damaged: t.damaged, warn: t.warn, fills: t.fills}
}

// ReadOnly says whether there is no backend to write to.
func (t *Tiers) ReadOnly() bool {
	return !slices.ContainsFunc(t.tiers, func(x Tier) bool { return x.Roles&Write != 0 })
}

// ParseRoles reads "read" and "write".
func ParseRoles(names []string) (Roles, error) {
	var r Roles
	for _, name := range names {
		switch name {
		case "read":
			r |= Read
		case "write":
			r |= Write
		default:
			return 0, fmt.Errorf(`role %q: want "read" or "write"`, name)
		}
	}
	return r, nil
}

// Empty says whether there is no backend to read from.
func (t *Tiers) Empty() bool {
	return !slices.ContainsFunc(t.tiers, func(x Tier) bool { return x.Roles&Read != 0 })
}

// Records looks the keys up in all backends at once, one call each. Where several hold a key the first one's record is
// taken. The presence of a key that has no step's record, such as a seen key, is told by the raw value.
func (t *Tiers) Records(ctx context.Context, keys []sdk.Key) map[sdk.Key][]byte {
	if len(keys) == 0 {
		return nil
	}
	answers := make([][]sdk.Record, len(t.tiers))
	var g errgroup.Group
	for i, tier := range t.tiers {
		if tier.Roles&Read == 0 {
			continue
		}
		g.Go(func() error {
			got, err := tier.Cache.GetRecords(ctx, keys)
			if err != nil {
				t.fault(ctx, tier, "look up records", err)
				return nil
			}
			answers[i] = got
			return nil
		})
	}
	_ = g.Wait()
	found := pick(keys, answers)
	t.fillRecords(ctx, answers, found)
	return found
}

// fillRecords puts records that only a slower backend held into the faster ones, in the background.
func (t *Tiers) fillRecords(ctx context.Context, answers [][]sdk.Record, found map[sdk.Key][]byte) {
	held := map[sdk.Key]bool{} // by the backends so far
	for i, tier := range t.tiers {
		for _, r := range answers[i] {
			held[r.Key] = true
		}
		if tier.Roles&Write == 0 || tier.Roles&Read == 0 {
			continue
		}
		var missing []sdk.Record
		for key, value := range found {
			if !held[key] {
				missing = append(missing, sdk.Record{Key: key, Value: value})
			}
		}
		if len(missing) > 0 {
			t.fills.Go(func() {
				if err := tier.Cache.PutRecords(ctx, missing); err != nil {
					t.fault(ctx, tier, "fill records", err)
				}
			})
		}
	}
}

// Wait waits until faster backends have what was found in slower ones.
func (t *Tiers) Wait() { t.fills.Wait() }

// OwnRecords looks up what this very build made.
func (t *Tiers) OwnRecords(ctx context.Context, keys []sdk.Key) map[sdk.Key][]byte {
	own := &Tiers{warn: t.warn, fills: t.fills}
	for _, tier := range t.tiers {
		if tier.Reach == Own {
			own.tiers = append(own.tiers, tier)
		}
	}
	return own.Records(ctx, keys)
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
	tiers *Tiers
	at    int
}

// Blob returns the content of a blob from the first backend that holds it, or an error wrapping [sdk.ErrNotFound]. The
// bytes are not verified yet: whoever reads them checks their digest.
func (t *Tiers) Blob(ctx context.Context, digest sdk.Digest) (Found, error) {
	for i, tier := range t.tiers {
		if tier.Roles&Read == 0 || t.damaged[string(digest)] {
			continue
		}
		content, err := tier.Cache.GetBlob(ctx, digest)
		if err == nil {
			return Found{content, t, i}, nil
		}
		if !errors.Is(err, sdk.ErrNotFound) {
			t.fault(ctx, tier, "get blob "+string(digest), err)
		}
	}
	return Found{}, fmt.Errorf("blob %s: %w", digest, sdk.ErrNotFound)
}

// Fill puts the blob, read and verified by now, into the backends before the one it was found in.
func (f Found) Fill(ctx context.Context, blob sdk.Blob, content sdk.Content) {
	before := &Tiers{tiers: f.tiers.tiers[:f.at], warn: f.tiers.warn}
	before.PutBlob(ctx, blob, content)
}

// Held returns those of the blobs that some backend holds.
func (t *Tiers) Held(ctx context.Context, digests []sdk.Digest) map[sdk.Digest]bool {
	held := map[sdk.Digest]bool{}
	for _, tier := range t.tiers {
		if tier.Roles&Read == 0 || len(digests) == 0 {
			continue
		}
		blobs, err := tier.Cache.StatBlobs(ctx, digests)
		if err != nil {
			t.fault(ctx, tier, "look up blobs", err)
			continue
		}
		for _, b := range blobs {
			held[b.Digest] = held[b.Digest] || !t.damaged[string(b.Digest)]
		}
	}
	return held
}

// PutBlob stores a blob in every backend that is written to.
func (t *Tiers) PutBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) {
	t.write(ctx, "put blob "+string(blob.Digest), func(c sdk.Cache) error { return c.PutBlob(ctx, blob, content) })
}

// PutBaseBlob stores a blob of a base image in the backends on this machine: others are no nearer than where it is from.
func (t *Tiers) PutBaseBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) {
	near := &Tiers{warn: t.warn}
	for _, tier := range t.tiers {
		if tier.Place == Near {
			near.tiers = append(near.tiers, tier)
		}
	}
	near.PutBlob(ctx, blob, content)
}

// PutRecords stores records in every backend that is written to. What they name must be stored before.
func (t *Tiers) PutRecords(ctx context.Context, records []sdk.Record) {
	t.write(ctx, "put records", func(c sdk.Cache) error { return c.PutRecords(ctx, records) })
}

func (t *Tiers) write(ctx context.Context, what string, put func(sdk.Cache) error) {
	var g errgroup.Group
	for _, tier := range t.tiers {
		if tier.Roles&Write == 0 {
			continue
		}
		g.Go(func() error {
			if err := put(tier.Cache); err != nil {
				t.fault(ctx, tier, what, err)
			}
			return nil
		})
	}
	_ = g.Wait()
}

// fault reports a backend's failure, but for one that only says that the build was cancelled.
func (t *Tiers) fault(ctx context.Context, tier Tier, what string, err error) {
	if ctx.Err() == nil {
		t.warn(fmt.Sprintf("cache %q: %s: %v", tier.Name, what, err))
	}
}
