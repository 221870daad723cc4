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

// keychain asks the credential providers, once for each registry or repository, and remembers the answers in memory.
type keychain struct {
	providers []sdk.CredentialProvider
	clock     clock
	log       *slog.Logger

	mu         sync.Mutex
	registries map[string]*keyring
}

func newKeychain(providers []sdk.CredentialProvider, clock clock, log *slog.Logger) *keychain {
	return &keychain{providers: providers, clock: clock, log: log, registries: map[string]*keyring{}}
}

// get returns the credential for an access. What was refused, if not nil, is replaced; the same credential comes back
// if the providers have no other.
func (k *keychain) get(ctx context.Context, registry string, a access, refused *sdk.Credential) (sdk.Credential, error) {
	ring := k.ring(registry)
	select {
	case ring.lock <- struct{}{}:
		defer func() { <-ring.lock }()
	case <-ctx.Done():
		return sdk.Credential{}, ctx.Err()
	}
	request := sdk.CredentialRequest{Registry: registry, Repository: a.repository, Actions: a.actions(), Reason: sdk.ReasonInitial}
	held := ring.find(a)
	now := k.clock.now()
	switch {
	case held == nil:
	case refused != nil && sameCredential(held.credential, *refused):
		if ring.refuse(a, *refused, now) == inVain {
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
		if request.Reason == sdk.ReasonUnauthorized {
			err = fmt.Errorf("replace the %s, which was refused: %w", refused, err)
		}
		return sdk.Credential{}, err
	}
	if request.Reason == sdk.ReasonUnauthorized && ring.wasRefused(a, credential) {
		ring.trials[a].vain = true
		return *refused, nil
	}
	fresh := &key{credential: credential}
	if !credential.ExpiresAt.IsZero() {
		fresh.renewAt = renewAt(now, credential.ExpiresAt)
	}
	ring.put(a, fresh)
	return credential, nil
}

// known returns what is held for an access, which is of no kind if nothing is, and what was refused of late.
func (k *keychain) known(ctx context.Context, registry string, a access) (held sdk.Credential, refused []sdk.Credential) {
	ring := k.ring(registry)
	select {
	case ring.lock <- struct{}{}:
		defer func() { <-ring.lock }()
	case <-ctx.Done():
		return held, nil
	}
	if key := ring.find(a); key != nil {
		held = key.credential
	}
	if trial := ring.trials[a]; trial != nil {
		refused = trial.refused
	}
	return held, refused
}

// ask goes through the providers. No answer at all means to ask the registry without a credential.
func (k *keychain) ask(ctx context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	narrow := false
	for _, provider := range k.providers {
		credential, err := provider.Credential(ctx, request)
		if errors.Is(err, sdk.ErrNotMine) {
			narrow = narrow || oneRepository(err)
			continue
		}
		if err != nil {
			return sdk.Credential{}, fmt.Errorf("find the credential for registry %q: %w", request.Registry, err)
		}
		switch credential.Kind {
		case sdk.KindBasic, sdk.KindBearer, sdk.KindIdentity, sdk.KindAnonymous:
			if narrow {
				credential.Scope = sdk.ScopeRepository
			}
			return credential, nil
		}
		return sdk.Credential{}, fmt.Errorf("find the credential for registry %q: a provider answered with the unknown kind %q",
			request.Registry, string(credential.Kind))
	}
	// That nobody knows this repository says nothing about the registry's others.
	return sdk.Credential{Kind: sdk.KindAnonymous, Scope: sdk.ScopeRepository}, nil
}

// oneRepository says whether a provider has nothing for this repository, but may have something for others in the
// registry. An answer that another provider gives instead must not be taken for those.
func oneRepository(err error) bool {
	var marked interface{ ThisRepositoryOnly() }
	return errors.As(err, &marked)
}

func (k *keychain) ring(registry string) *keyring {
	k.mu.Lock()
	defer k.mu.Unlock()
	ring := k.registries[registry]
	if ring == nil {
		ring = &keyring{lock: make(chan struct{}, 1), repositories: map[place]*key{}, trials: map[access]*trial{}}
		k.registries[registry] = ring
	}
	return ring
}

// sameCredential says whether two credentials would be presented alike.
func sameCredential(a, b sdk.Credential) bool {
	return a.Kind == b.Kind && a.Username == b.Username && a.Secret == b.Secret
}

// renewAt returns the time at which four fifths of a lifetime are over.
func renewAt(from, until time.Time) time.Time {
	return from.Add(until.Sub(from) * 4 / 5)
}
