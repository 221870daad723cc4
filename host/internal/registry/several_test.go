package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/sdk"
)

// rulesProvider answers by rules, as a provider of several tokens does: the first that fits, and the next one when that
// was refused, round and round.
type rulesProvider struct {
	scriptedProvider
	rules func(sdk.CredentialRequest) []sdk.Credential
	given map[string]int
}

func (p *rulesProvider) Credential(_ context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, request)
	fitting := p.rules(request)
	if len(fitting) == 0 {
		return sdk.Credential{}, sdk.ErrNotMine
	}
	key := fmt.Sprint(request.Repository, request.Actions)
	if p.given == nil {
		p.given = map[string]int{}
	}
	if request.Reason == sdk.ReasonUnauthorized {
		p.given[key]++
	}
	answer := fitting[p.given[key]%len(fitting)]
	answer.Scope = sdk.ScopeRepository
	return answer, nil
}

// permissions guards a registry by basic authentication: what a user may do, as "repository:push", with "*" for any.
func permissions(allowed map[string][]string) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		user, _, _ := r.BasicAuth()
		path := strings.TrimPrefix(r.URL.Path, "/v2/")
		repository, _, _ := strings.Cut(strings.Replace(path, "/manifests/", "/blobs/", 1), "/blobs/")
		wanted := []string{repository + ":pull"}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			wanted[0] = repository + ":push"
		}
		if from := r.URL.Query().Get("from"); from != "" {
			wanted = append(wanted, from+":pull")
		}
		for _, want := range wanted {
			if !slices.Contains(allowed[user], want) {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
				return true
			}
		}
		return false
	}
}

// TestReadingAndWritingByDifferentCredentials has a deploy token that may only read and a job token that may only write
// what is its own. Neither may be taken for the other, and nobody is refused on the way.
func TestReadingAndWritingByDifferentCredentials(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	server.intercept(permissions(map[string][]string{
		"deploy": {"app:pull", "base:pull"},
		"job":    {"app:pull", "app:push"},
	}))
	provider := &rulesProvider{rules: func(r sdk.CredentialRequest) []sdk.Credential {
		if slices.Contains(r.Actions, "push") {
			return []sdk.Credential{basic("job", "1")}
		}
		return []sdk.Credential{basic("deploy", "2")}
	}}
	client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}})
	content := noise(1, 1000)
	server.add("base", content)
	server.add("app", noise(2, 10))
	for range 2 {
		if _, err := readBlob(t, client, server.repository("app"), describe(noise(2, 10))); err != nil {
			t.Fatal(err)
		}
		if _, err := readBlob(t, client, server.repository("base"), describe(content)); err != nil {
			t.Fatal(err)
		}
		if err := client.CheckPush(t.Context(), server.repository("app")); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"initial app pull", "initial base pull", "initial app pull,push"}
	if diff := cmp.Diff(want, provider.reasons()); diff != "" {
		t.Errorf("credential requests (-want +got):\n%s", diff)
	}
}

// TestNextRule goes through what a provider has until something does, and names what was tried if nothing does.
func TestNextRule(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	server.intercept(permissions(map[string][]string{"third": {"app:push"}}))
	all := []sdk.Credential{basic("first", "s3cret-1"), basic("second", "s3cret-2"), basic("third", "s3cret-3")}
	provider := &rulesProvider{rules: func(sdk.CredentialRequest) []sdk.Credential { return all }}
	client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}})
	if err := client.CheckPush(t.Context(), server.repository("app")); err != nil {
		t.Error(err)
	}
	provider = &rulesProvider{rules: func(sdk.CredentialRequest) []sdk.Credential { return all[:2] }}
	client = newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}})
	for range 2 {
		err := client.CheckPush(t.Context(), server.repository("app"))
		if !errors.Is(err, ErrDenied) {
			t.Fatalf("error %v, want %v", err, ErrDenied)
		}
		e, _ := errors.AsType[*Error](err)
		for _, part := range []string{server.host(), "the basic credential of first and the basic credential of second", `pull and push in "app"`} {
			if !strings.Contains(e.Hint, part) {
				t.Errorf("hint %q does not say %q", e.Hint, part)
			}
		}
		if strings.Contains(e.Hint+err.Error(), "s3cret") {
			t.Errorf("a secret is in %q, %q", err, e.Hint)
		}
	}
	want := []string{"initial app pull,push", "unauthorized app pull,push", "unauthorized app pull,push"}
	if diff := cmp.Diff(want, provider.reasons()); diff != "" {
		t.Errorf("credential requests (-want +got):\n%s", diff)
	}
}

// TestRefusalSaysNothingOfOtherAccesses has a credential refused for one repository a moment before it expires for
// another: that the providers had no other then does not mean that they have none now.
func TestRefusalSaysNothingOfOtherAccesses(t *testing.T) {
	t.Parallel()
	clock := newFakeClock()
	server := newTestRegistry(t)
	password := "first"
	inner := basicGuard(func() string { return password })
	server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/forbidden/") {
			return basicGuard(func() string { return "another" })(w, r)
		}
		return inner(w, r)
	})
	provider := &rulesProvider{rules: func(sdk.CredentialRequest) []sdk.Credential { return []sdk.Credential{basic("job", password)} }}
	wide := providerFunc(func(ctx context.Context, r sdk.CredentialRequest) (sdk.Credential, error) {
		c, err := provider.Credential(ctx, r)
		c.Scope = sdk.ScopeRegistry
		return c, err
	})
	client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{wide}, clock: clock})
	if err := client.CheckPush(t.Context(), server.repository("app")); err != nil {
		t.Fatal(err)
	}
	if err := client.CheckPush(t.Context(), server.repository("forbidden")); !errors.Is(err, ErrDenied) {
		t.Fatalf("error %v, want %v", err, ErrDenied)
	}
	clock.advance(time.Second)
	password = "second"
	if err := client.CheckPush(t.Context(), server.repository("app")); err != nil {
		t.Errorf("the password was not renewed: %v", err)
	}
}

type providerFunc func(context.Context, sdk.CredentialRequest) (sdk.Credential, error)

func (f providerFunc) Credential(ctx context.Context, r sdk.CredentialRequest) (sdk.Credential, error) {
	return f(ctx, r)
}

// TestMountDoesNotCostTheCredential has a registry that refuses to mount from a repository: the blob is sent, with the
// credential that is good for that, and no provider is troubled.
func TestMountDoesNotCostTheCredential(t *testing.T) {
	t.Parallel()
	clock := newFakeClock()
	tokens := newTokenServer(t, clock, time.Hour)
	tokens.setPassword("job", "secret")
	tokens.setPassword("other", "secret")
	server := newTestRegistry(t)
	server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("from") != "" {
			r.Header.Del("Authorization") // no token is enough
		}
		return tokens.guard(w, r)
	})
	provider := &scriptedProvider{answers: []sdk.Credential{basic("job", "secret"), basic("other", "secret")}}
	client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}, clock: clock})
	content := noise(3, 1000)
	server.add("theirs", content)
	outcome, err := client.Push(t.Context(), server.repository("app"), completeBlob(content), []Repository{server.repository("theirs")}, nil)
	if err != nil || outcome != Uploaded {
		t.Fatalf("Push = %q, %v; want %q", outcome, err, Uploaded)
	}
	if diff := cmp.Diff([]string{"initial app pull,push"}, provider.reasons()); diff != "" {
		t.Errorf("credential requests (-want +got):\n%s", diff)
	}
}

// TestCancellingDoesNotCostTheCredential has a registry that wants the right to delete to take an upload back, and a token
// server that gives it to nobody. What is pushed next must not suffer from it.
func TestCancellingDoesNotCostTheCredential(t *testing.T) {
	t.Parallel()
	for name, denied := range map[string]string{"refused by the token server": "delete", "refused by the registry": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := newFakeClock()
			tokens := newTokenServer(t, clock, time.Hour)
			tokens.setPassword("job", "secret")
			tokens.setPassword("other", "secret")
			tokens.denied = denied
			server := newTestRegistry(t)
			server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodDelete {
					w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test",scope="repository:app:delete"`, tokens.URL))
					refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
					return true
				}
				return tokens.guard(w, r)
			})
			provider := &scriptedProvider{answers: []sdk.Credential{basic("job", "secret"), basic("other", "secret")}}
			client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}, clock: clock})
			if err := client.CheckPush(t.Context(), server.repository("app")); err != nil {
				t.Fatal(err)
			}
			clock.advance(2 * time.Hour)
			if _, err := client.Push(t.Context(), server.repository("app"), completeBlob(noise(3, 1000)), nil, nil); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"initial app pull,push"}, provider.reasons()); diff != "" {
				t.Errorf("credential requests (-want +got):\n%s", diff)
			}
			if asked := tokens.requests(); strings.Contains(asked[len(asked)-1], "delete") {
				t.Errorf("the push asked for the right to delete: %v", asked)
			}
		})
	}
}

// onlyThisRepository is what a provider that is asked by path says of a path that is not its own.
type onlyThisRepository struct{ error }

func (onlyThisRepository) ThisRepositoryOnly() {}

func (e onlyThisRepository) Unwrap() error { return e.error }

// TestProviderForAPathIsNotHidden has a provider for one path before one for the whole registry. What the second answers
// for another path must not keep the first from being asked.
func TestProviderForAPathIsNotHidden(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	server.intercept(permissions(map[string][]string{"everyone": {"base:pull"}, "team": {"team/app:push"}}))
	var asked []sdk.CredentialReason
	team := providerFunc(func(_ context.Context, r sdk.CredentialRequest) (sdk.Credential, error) {
		asked = append(asked, r.Reason)
		if !strings.HasPrefix(r.Repository, "team/") {
			return sdk.Credential{}, onlyThisRepository{sdk.ErrNotMine}
		}
		return basic("team", "1"), nil
	})
	everyone := &scriptedProvider{answers: []sdk.Credential{basic("everyone", "2")}}
	client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{team, everyone}})
	server.add("base", noise(1, 10))
	if _, err := readBlob(t, client, server.repository("base"), describe(noise(1, 10))); err != nil {
		t.Fatal(err)
	}
	if err := client.CheckPush(t.Context(), server.repository("team/app")); err != nil {
		t.Error(err)
	}
	// A reason "unauthorized" would tell that the other provider's credential had been shown first.
	if diff := cmp.Diff([]sdk.CredentialReason{sdk.ReasonInitial, sdk.ReasonInitial}, asked); diff != "" {
		t.Errorf("the first provider was asked (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"initial base pull"}, everyone.reasons()); diff != "" {
		t.Errorf("the second provider was asked (-want +got):\n%s", diff)
	}
}
