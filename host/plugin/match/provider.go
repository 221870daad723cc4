package match

import (
	"context"
	"errors"
	"fmt"

	"github.com/trowel-build/trowel/sdk"
)

// List is the patterns of one plugin. It fits what one of them fits.
type List []Pattern

// ParseList reads the patterns of a plugin, of which there must be at least one: whom a plugin is asked about is for the
// user to say.
func ParseList(texts []string) (List, error) {
	if len(texts) == 0 {
		return nil, errors.New(`match is empty: name the registries that the plugin is asked about, such as match = ["registry.example.com"], or "*" for all`)
	}
	list := make(List, 0, len(texts))
	for _, text := range texts {
		p, err := Parse(text)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// Fits says whether a pattern of the list is about a repository.
func (l List) Fits(registry, repository string) bool {
	for _, p := range l {
		if p.Fits(registry, repository) {
			return true
		}
	}
	return false
}

// fitsRegistry says whether the list is about every repository of a registry, about some, or about none.
func (l List) fitsRegistry(registry string) (all, some bool) {
	for _, p := range l {
		if p.fitsHost(registry) {
			some = true
			all = all || len(p.elements) == 0
		}
	}
	return all, some
}

// Provider is a credential provider that is asked only where the list fits. An answer holds for no more than that: where
// the list has paths, for the repository alone.
func (l List) Provider(asked sdk.CredentialProvider) sdk.CredentialProvider {
	return &provider{list: l, asked: asked}
}

type provider struct {
	list  List
	asked sdk.CredentialProvider
}

// Credential asks the provider if the request fits.
func (p *provider) Credential(ctx context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	all, some := p.list.fitsRegistry(request.Registry)
	if !p.list.Fits(request.Registry, request.Repository) {
		err := fmt.Errorf("match has no pattern for %q: %w", request.Registry+"/"+request.Repository, sdk.ErrNotMine)
		if some {
			return sdk.Credential{}, &notHere{err}
		}
		return sdk.Credential{}, err
	}
	credential, err := p.asked.Credential(ctx, request)
	if errors.Is(err, sdk.ErrNotMine) {
		return sdk.Credential{}, &notHere{err}
	}
	if err == nil && !all {
		credential.Scope = sdk.ScopeRepository
	}
	return credential, err
}

// notHere says that a provider has nothing for one repository, and may have something for another in the same registry.
// What a provider after it answers must not be taken for an answer about that one.
type notHere struct{ err error }

// Error returns the cause's text.
func (e *notHere) Error() string { return e.err.Error() }

// Unwrap returns the cause, which wraps [sdk.ErrNotMine].
func (e *notHere) Unwrap() error { return e.err }

// ThisRepositoryOnly marks the error for the keychain.
func (e *notHere) ThisRepositoryOnly() {}

var _ sdk.CredentialProvider = (*provider)(nil)
