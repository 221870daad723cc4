package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// refusedFor is how long a refused credential is not asked for again when the providers had no other.
const refusedFor = 30 * time.Second

// keychain asks the credential providers, once for each registry or repository, and remembers the answers in memory.
type keychain struct {
	providers []sdk.CredentialProvider
	clock     clock
	log       *slog.Logger

	mu         sync.Mutex
	registries map[string]*keyring
}

// keyring holds the answers about one registry. Its lock is held while a provider is asked, so that what is asked at
// the same time about one registry becomes one call.
type keyring struct {
	lock         chan struct{}
	whole        *key            // holds for every repository
	repositories map[string]*key // holds for one
}

// key is an answer and what became of it.
type key struct {
	credential sdk.Credential
	renewAt    time.Time // zero: when it is refused
	refusedAt  time.Time // when the providers were last asked for a better one, in vain
}

func newKeychain(providers []sdk.CredentialProvider, clock clock, log *slog.Logger) *keychain {
	return &keychain{providers: providers, clock: clock, log: log, registries: map[string]*keyring{}}
}

// get returns the credential for a repository. What was refused, if not nil, is replaced; the same credential comes
// back if the providers have no other.
func (k *keychain) get(ctx context.Context, registry string, a access, refused *sdk.Credential) (sdk.Credential, error) {
	ring := k.ring(registry)
	select {
	case ring.lock <- struct{}{}:
		defer func() { <-ring.lock }()
	case <-ctx.Done():
		return sdk.Credential{}, ctx.Err()
	}
	request := sdk.CredentialRequest{Registry: registry, Repository: a.repository, Actions: a.actions(), Reason: sdk.ReasonInitial}
	held := ring.find(a.repository)
	now := k.clock.now()
	switch {
	case held == nil:
	case refused != nil && sameCredential(held.credential, *refused):
		if now.Sub(held.refusedAt) < refusedFor {
			return held.credential, nil
		}
		request.Reason = sdk.ReasonUnauthorized
	case !held.renewAt.IsZero() && !now.Before(held.renewAt):
		request.Reason = sdk.ReasonExpiring
	default:
		return held.credential, nil
	}
	credential, err := k.ask(ctx, request)
	if err != nil {
		if request.Reason == sdk.ReasonExpiring && now.Before(held.credential.ExpiresAt) && ctx.Err() == nil {
			k.log.Warn("credential not renewed yet", "registry", registry, "error", err)
			return held.credential, nil
		}
		return sdk.Credential{}, err
	}
	fresh := &key{credential: credential}
	if !credential.ExpiresAt.IsZero() {
		fresh.renewAt = renewAt(now, credential.ExpiresAt)
	}
	if refused != nil && sameCredential(credential, *refused) {
		fresh.refusedAt = now
	}
	ring.put(a.repository, fresh)
	return credential, nil
}

// held returns what is known already; its kind is empty if nothing is.
func (k *keychain) held(ctx context.Context, registry, repository string) sdk.Credential {
	ring := k.ring(registry)
	select {
	case ring.lock <- struct{}{}:
		defer func() { <-ring.lock }()
	case <-ctx.Done():
		return sdk.Credential{}
	}
	if held := ring.find(repository); held != nil {
		return held.credential
	}
	return sdk.Credential{}
}

// ask goes through the providers. No answer at all means to ask the registry without a credential.
func (k *keychain) ask(ctx context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	for _, provider := range k.providers {
		credential, err := provider.Credential(ctx, request)
		if errors.Is(err, sdk.ErrNotMine) {
			continue
		}
		if err != nil {
			return sdk.Credential{}, fmt.Errorf("find the credential for registry %q: %w", request.Registry, err)
		}
		switch credential.Kind {
		case sdk.KindBasic, sdk.KindBearer, sdk.KindIdentity, sdk.KindAnonymous:
			return credential, nil
		}
		return sdk.Credential{}, fmt.Errorf("find the credential for registry %q: a provider answered with the unknown kind %q",
			request.Registry, string(credential.Kind))
	}
	// That nobody knows this repository says nothing about the registry's others.
	return sdk.Credential{Kind: sdk.KindAnonymous, Scope: sdk.ScopeRepository}, nil
}

func (k *keychain) ring(registry string) *keyring {
	k.mu.Lock()
	defer k.mu.Unlock()
	ring := k.registries[registry]
	if ring == nil {
		ring = &keyring{lock: make(chan struct{}, 1), repositories: map[string]*key{}}
		k.registries[registry] = ring
	}
	return ring
}

// find returns the key for a repository: its own, else the one for the whole registry.
func (r *keyring) find(repository string) *key {
	if held := r.repositories[repository]; held != nil {
		return held
	}
	return r.whole
}

func (r *keyring) put(repository string, held *key) {
	if held.credential.Scope == sdk.ScopeRepository {
		r.repositories[repository] = held
		return
	}
	delete(r.repositories, repository)
	r.whole = held
}

// sameCredential says whether two credentials would be presented alike.
func sameCredential(a, b sdk.Credential) bool {
	return a.Kind == b.Kind && a.Username == b.Username && a.Secret == b.Secret
}

// renewAt returns the time at which four fifths of a lifetime are over.
func renewAt(from, until time.Time) time.Time {
	return from.Add(until.Sub(from) * 4 / 5)
}
