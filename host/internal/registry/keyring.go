package registry

import (
	"slices"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// refusedFor is how long a refused credential counts as refused. Within it the providers are not asked again once they
// had no other; after it even the same one is worth a try.
const refusedFor = 30 * time.Second

// keyring holds the answers about one registry. Its lock is held while a provider is asked, so that what is asked at
// the same time about one registry becomes one call.
type keyring struct {
	lock         chan struct{}
	whole        *key           // holds for every repository
	repositories map[place]*key // holds for one
	trials       map[access]*trial
}

// place is what an answer of the scope "repository" holds for. An answer for pushing is good for pulling too, but not the
// other way round: a deploy token may be for reading only.
type place struct {
	repository string
	action     action
}

// key is an answer.
type key struct {
	credential sdk.Credential
	renewAt    time.Time // zero: when it is refused
}

// find returns the key for an access: that of its repository, else the one for the whole registry.
func (r *keyring) find(a access) *key {
	if held := r.repositories[place{a.repository, a.push}]; held != nil {
		return held
	}
	if held := r.repositories[place{a.repository, pushing}]; held != nil {
		return held
	}
	return r.whole
}

func (r *keyring) put(a access, held *key) {
	if held.credential.Scope == sdk.ScopeRepository {
		r.repositories[place{a.repository, a.push}] = held
		return
	}
	delete(r.repositories, place{a.repository, pulling})
	delete(r.repositories, place{a.repository, pushing})
	r.whole = held
}

// trial is what one access was refused with of late. It is kept for each access by itself: that a credential may not do
// one thing says nothing of what else it may, and must not keep it from being renewed there.
type trial struct {
	refused []sdk.Credential
	at      time.Time // of the last refusal
	vain    bool      // the providers had nothing but what is in refused
}

// outcome says what to do about a refusal.
type outcome int

const (
	worthAsking outcome = iota
	inVain
)

// refuse takes note of a refusal, and says whether the providers are worth asking.
func (r *keyring) refuse(a access, credential sdk.Credential, now time.Time) outcome {
	t := r.trials[a]
	if t == nil || now.Sub(t.at) >= refusedFor {
		t = &trial{}
		r.trials[a] = t
	}
	if t.vain {
		return inVain
	}
	t.at = now
	if !r.wasRefused(a, credential) {
		t.refused = append(t.refused, credential)
	}
	return worthAsking
}

// wasRefused says whether the access was refused with this credential of late.
func (r *keyring) wasRefused(a access, credential sdk.Credential) bool {
	t := r.trials[a]
	return t != nil && slices.ContainsFunc(t.refused, func(c sdk.Credential) bool { return sameCredential(c, credential) })
}
