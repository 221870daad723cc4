package sdk

import (
	"context"
	"time"
)

// CredentialProvider answers with the credential for a registry. The host asks only when a registry demands one,
// asks each provider in the order the user gave, stops at the first answer, and asks again before the answer expires
// or when the registry refuses it. Concurrent requests for one registry are merged into a single call.
type CredentialProvider interface {
	// Credential returns the credential for the request, or an error wrapping [ErrNotMine] if the provider knows
	// nothing of the registry. Any other error ends the search: a broken helper must not silently become an
	// anonymous pull.
	Credential(ctx context.Context, request CredentialRequest) (Credential, error)
}

// CredentialRequest says what a credential is needed for.
type CredentialRequest struct {
	// Registry is the host, with its port if that is not the default one, such as "registry.example.com:5000"; Docker Hub
	// is "docker.io".
	Registry string `json:"registry"`
	// Repository is the path in the registry, such as "team/app"; empty if the request is about the registry as a whole.
	Repository string           `json:"repository,omitempty"`
	Actions    []string         `json:"actions,omitempty"` // "pull", "push"
	Reason     CredentialReason `json:"reason"`
}

// CredentialReason says why the host asks.
type CredentialReason string

// The reasons for which a credential is asked.
const (
	ReasonInitial      CredentialReason = "initial"      // none was asked for so far
	ReasonExpiring     CredentialReason = "expiring"     // the last one is about to expire
	ReasonUnauthorized CredentialReason = "unauthorized" // the registry refused the last one
)

// Credential is a provider's answer. Its String method hides the secret, so that it cannot reach a log by accident.
type Credential struct {
	Kind     CredentialKind `json:"kind"`
	Username string         `json:"username,omitempty"` // only with KindBasic
	// Secret is the password, bearer token or identity token, by Kind. A plugin that was granted a secret with the use
	// "reply" writes {{secret:NAME}} here, and never sees what the host puts in its place.
	Secret    string          `json:"secret,omitempty"`
	ExpiresAt time.Time       `json:"expiresAt,omitzero"` // zero: unknown
	Scope     CredentialScope `json:"scope,omitempty"`
}

// CredentialKind says how a credential is presented to a registry.
type CredentialKind string

// The kinds of credential.
const (
	KindBasic     CredentialKind = "basic"     // user name and password
	KindBearer    CredentialKind = "bearer"    // a token for the registry itself
	KindIdentity  CredentialKind = "identity"  // an OAuth2 refresh token for the registry's token server
	KindAnonymous CredentialKind = "anonymous" // ask without a credential, and ask no other provider
)

// CredentialScope says for which other requests an answer holds as well.
type CredentialScope string

// The scopes of a credential.
const (
	ScopeRegistry   CredentialScope = "registry"   // every repository of the registry; the default
	ScopeRepository CredentialScope = "repository" // only the repository that was asked about, and the actions
)

// String describes c without its secret.
func (c Credential) String() string {
	if c.Username == "" {
		return string(c.Kind) + " credential"
	}
	return string(c.Kind) + " credential of " + c.Username
}

// GoString describes c without its secret, for %#v.
func (c Credential) GoString() string { return c.String() }
