package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

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
	Bases  Reach = "bases" // blobs of base images and their indexes, and nothing of steps
)

// Roles says what a backend is used for.
type Roles uint8

// The roles of a backend, to be combined.
const (
	Read Roles = 1 << iota
	Write
)

// Tiers is an ordered list of backends as one. A backend that fails is reported with warn and otherwise counts as empty: a
// cache never fails a build. One that does nothing but fail is not asked any more.
type Tiers struct {
	tiers   []*backend
	damaged map[string]bool
	warn    func(text string)
	fills   *sync.WaitGroup // of faster backends
}

// backend is a tier and how it fared.
type backend struct {
	Tier
	reads, writes streak
}

// streak is how often in a row a backend failed at one thing.
type streak struct{ failures atomic.Int32 }

func (r *streak) hopeless() bool { return r.failures.Load() >= maxFailures }

// maxFailures is how often in a row a backend may fail before it is left alone: each failure may have taken all the time
// that a call has.
const maxFailures = 3

// NewTiers joins backends. Blobs whose digest is in damaged count as missing: somebody read them and found another
// digest. warn may be called from several goroutines.
func NewTiers(tiers []Tier, damaged map[string]bool, warn func(text string)) *Tiers {
	t := &Tiers{damaged: damaged, warn: warn, fills: &sync.WaitGroup{}}
	for _, tier := range tiers {
		t.tiers = append(t.tiers, &backend{Tier: tier})
	}
	return t
}

// WithOwn is t with a backend before all others for what this very build makes.
func (t *Tiers) WithOwn(c sdk.Cache) *Tiers {
	own := &backend{Tier: Tier{Name: "this build", Cache: c, Roles: Read | Write, Reach: Own}}
	return t.with(append([]*backend{own}, t.tiers...))
}

// Remote are those of the backends that are not on this machine.
func (t *Tiers) Remote() *Tiers { return t.only(func(b *backend) bool { return b.Place == Remote }) }

// with is t with other backends.
func (t *Tiers) with(tiers []*backend) *Tiers {
	return &Tiers{tiers: tiers, damaged: t.damaged, warn: t.warn, fills: t.fills}
}

// only are those of the backends that a condition holds for.
func (t *Tiers) only(condition func(b *backend) bool) *Tiers {
	var some []*backend
	for _, b := range t.tiers {
		if condition(b) {
			some = append(some, b)
		}
	}
	return t.with(some)
}

// readable says whether a backend is to be asked, writable whether it is to be given anything.
func (b *backend) readable() bool { return b.Roles&Read != 0 && !b.reads.hopeless() }
func (b *backend) writable() bool { return b.Roles&Write != 0 && !b.writes.hopeless() }

// ReadOnly says whether there is no backend to write to.
func (t *Tiers) ReadOnly() bool { return !slices.ContainsFunc(t.tiers, (*backend).writable) }

// Empty says whether there is no backend to read from.
func (t *Tiers) Empty() bool { return !slices.ContainsFunc(t.tiers, (*backend).readable) }

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

// fault reports a backend's failure, but for one that only says that the build was cancelled.
func (t *Tiers) fault(ctx context.Context, b *backend, r *streak, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	text := fmt.Sprintf("cache %q: %s: %v", b.Name, what, err)
	if coded, ok := errors.AsType[*sdk.Error](err); ok && coded.Code == sdk.CodeUnsupported && r == &b.writes {
		if r.failures.Swap(maxFailures) < maxFailures {
			t.warn(text + `: give it roles = ["read"]`)
		}
		return
	}
	switch n := r.failures.Add(1); {
	case n == maxFailures:
		t.warn(text + fmt.Sprintf("; it failed %d times in a row and is not asked any more", n))
	case n < maxFailures:
		t.warn(text)
	}
}

// worked ends a row of failures.
func (r *streak) worked() {
	if !r.hopeless() {
		r.failures.Store(0)
	}
}
