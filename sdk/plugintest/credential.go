package plugintest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// Registries tells [CredentialProvider] what the provider under test knows.
type Registries struct {
	// Known is a request that the provider has a credential for.
	Known sdk.CredentialRequest
	// Unknown is the name of a registry that the provider knows nothing of. Leave it empty for a provider that answers
	// whatever it is asked.
	Unknown string
}

// CredentialProvider checks that what open makes is a provider as [sdk.CredentialProvider] describes it. open is called
// once a check.
func CredentialProvider(t *testing.T, open func(t *testing.T) sdk.CredentialProvider, registries Registries) {
	t.Helper()
	if registries.Known.Registry == "" {
		t.Fatal("plugintest.CredentialProvider: Registries.Known names no registry")
	}
	if registries.Known.Reason == "" {
		registries.Known.Reason = sdk.ReasonInitial
	}
	with := func(run func(*testing.T, sdk.CredentialProvider, Registries)) func(*testing.T, sdk.CredentialProvider) {
		return func(t *testing.T, p sdk.CredentialProvider) { run(t, p, registries) }
	}
	checks := []check[sdk.CredentialProvider]{
		{"a known registry gets a usable credential", with(credentialKnown)},
		{"every reason is answered", with(credentialReasons)},
		{"a request for the registry as a whole is answered or not mine", with(credentialWhole)},
		{"concurrent requests are answered", with(credentialConcurrent)},
		{"a cancelled request ends", with(credentialCancelled)},
	}
	if registries.Unknown != "" {
		checks = append(checks,
			check[sdk.CredentialProvider]{"an unknown registry is not mine", with(credentialUnknown)},
			check[sdk.CredentialProvider]{"a registry that looks like a known one gets nothing", with(credentialLookAlike)})
	}
	runChecks(t, open, checks)
}

// usable says what is wrong with a credential, nil if nothing is.
func usable(c sdk.Credential, now time.Time) error {
	switch c.Kind {
	case sdk.KindBasic:
		if strings.Contains(c.Username, ":") {
			return errors.New("the user name has a colon, which basic authentication cannot carry")
		}
	case sdk.KindBearer, sdk.KindIdentity:
		if c.Username != "" {
			return fmt.Errorf("a credential of kind %q has a user name", c.Kind)
		}
	case sdk.KindAnonymous:
		if c.Username != "" || c.Secret != "" {
			return errors.New("an anonymous credential has a user name or a secret")
		}
	default:
		return fmt.Errorf("unknown kind %q", c.Kind)
	}
	if c.Kind != sdk.KindAnonymous && c.Secret == "" {
		return fmt.Errorf("a credential of kind %q has no secret", c.Kind)
	}
	if strings.ContainsAny(c.Username+c.Secret, "\x00\r\n") {
		return errors.New("the user name or the secret has a line break or a NUL, which no header can carry: trim it")
	}
	if !c.ExpiresAt.IsZero() && !c.ExpiresAt.After(now) {
		return fmt.Errorf("it expired at %s", c.ExpiresAt)
	}
	switch c.Scope {
	case "", sdk.ScopeRegistry, sdk.ScopeRepository:
	default:
		return fmt.Errorf("unknown scope %q", c.Scope)
	}
	return nil
}

func credentialKnown(t *testing.T, p sdk.CredentialProvider, r Registries) {
	c, err := p.Credential(t.Context(), r.Known)
	if err != nil {
		t.Fatalf("Credential(%q): %v", r.Known.Registry, err)
	}
	if err := usable(c, time.Now()); err != nil {
		t.Errorf("Credential(%q): %v", r.Known.Registry, err)
	}
}

func credentialReasons(t *testing.T, p sdk.CredentialProvider, r Registries) {
	for _, reason := range []sdk.CredentialReason{sdk.ReasonInitial, sdk.ReasonExpiring, sdk.ReasonUnauthorized} {
		request := r.Known
		request.Reason = reason
		c, err := p.Credential(t.Context(), request)
		if err != nil {
			t.Errorf("Credential with reason %q: %v", reason, err)
			continue
		}
		if err := usable(c, time.Now()); err != nil {
			t.Errorf("Credential with reason %q: %v", reason, err)
		}
	}
}

func credentialWhole(t *testing.T, p sdk.CredentialProvider, r Registries) {
	request := sdk.CredentialRequest{Registry: r.Known.Registry, Reason: sdk.ReasonInitial}
	c, err := p.Credential(t.Context(), request)
	if errors.Is(err, sdk.ErrNotMine) {
		return
	}
	if err != nil {
		t.Fatalf("Credential(%q) without a repository: %v", request.Registry, err)
	}
	if err := usable(c, time.Now()); err != nil {
		t.Errorf("Credential(%q) without a repository: %v", request.Registry, err)
	}
}

func credentialUnknown(t *testing.T, p sdk.CredentialProvider, r Registries) {
	request := r.Known
	request.Registry = r.Unknown
	c, err := p.Credential(t.Context(), request)
	if !errors.Is(err, sdk.ErrNotMine) {
		t.Errorf("Credential(%q) = %v, error %v, which does not wrap sdk.ErrNotMine", r.Unknown, c, err)
	}
	if c != (sdk.Credential{}) {
		t.Errorf("Credential(%q) has a credential beside its error", r.Unknown)
	}
}

func credentialLookAlike(t *testing.T, p sdk.CredentialProvider, r Registries) {
	known, err := p.Credential(t.Context(), r.Known)
	if err != nil {
		t.Fatalf("Credential(%q): %v", r.Known.Registry, err)
	}
	if known.Secret == "" {
		return
	}
	host := r.Known.Registry
	for _, name := range []string{
		host + "." + r.Unknown, host + "@" + r.Unknown, r.Unknown + "/" + host, r.Unknown + "#" + host, "x" + host,
		host + "\n", host + "\x00" + r.Unknown, "../" + host, "",
	} {
		request := r.Known
		request.Registry = name
		if c, err := p.Credential(t.Context(), request); err == nil && c.Secret == known.Secret {
			t.Errorf("Credential(%q) gives away the secret of %q", name, host)
		}
	}
}

func credentialConcurrent(t *testing.T, p sdk.CredentialProvider, r Registries) {
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			c, err := p.Credential(t.Context(), r.Known)
			if err != nil {
				t.Errorf("Credential(%q): %v", r.Known.Registry, err)
				return
			}
			if err := usable(c, time.Now()); err != nil {
				t.Errorf("Credential(%q): %v", r.Known.Registry, err)
			}
		})
	}
	wg.Wait()
}

// credentialCancelled: an answer that needed no waiting is as good as an error, but it has to come.
func credentialCancelled(t *testing.T, p sdk.CredentialProvider, r Registries) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan error, 1)
	go func() {
		_, err := p.Credential(ctx, r.Known)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil && errors.Is(err, sdk.ErrNotMine) {
			t.Errorf("a cancelled request is answered with %v, which would send the host to the next provider", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a cancelled request does not end within 10 seconds")
	}
}
