package registry

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/trowel-build/trowel/sdk"
)

func TestNobodyIsAskedWithoutNeed(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	provider := &scriptedProvider{err: errors.New("must not be asked")}
	client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}})
	if _, err := client.Push(t.Context(), server.repository("app"), completeBlob(noise(1, 100)), nil, nil); err != nil {
		t.Error(err)
	}
	if len(provider.requests) != 0 {
		t.Errorf("asked %v", provider.reasons())
	}
}

func TestTokenForEachScopeOnce(t *testing.T) {
	t.Parallel()
	clock := newFakeClock()
	tokens := newTokenServer(t, clock, time.Hour)
	tokens.setPassword("me", "secret")
	server := newTestRegistry(t)
	server.intercept(tokens.guard)
	provider := &scriptedProvider{answers: []sdk.Credential{basic("me", "secret")}}
	client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}, clock: clock})
	content := noise(2, 1000)
	server.add("base", content)
	var group sync.WaitGroup
	for range 5 {
		group.Go(func() {
			if _, err := readBlob(t, client, server.repository("base"), describe(content)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	outcome, err := client.Push(t.Context(), server.repository("app"), completeBlob(content), []Repository{server.repository("base")}, nil)
	if err != nil || outcome != Mounted {
		t.Fatalf("Push = %q, %v", outcome, err)
	}
	want := []string{
		"GET me test repository:base:pull",
		"GET me test repository:app:pull,push",
		"GET me test repository:app:pull,push repository:base:pull",
	}
	if diff := cmp.Diff(want, tokens.requests()); diff != "" {
		t.Errorf("token requests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"initial base pull"}, provider.reasons()); diff != "" {
		t.Errorf("credential requests (-want +got):\n%s", diff)
	}
}

// TestPasswordExpiresDuringUpload is the promise: tokens live for a second, the first password stops working while the
// blob is being made, and the connection breaks; the push goes on with a new password where it was.
func TestPasswordExpiresDuringUpload(t *testing.T) {
	t.Parallel()
	clock := newFakeClock()
	tokens := newTokenServer(t, clock, time.Second)
	tokens.setPassword("job", "first")
	server := newTestRegistry(t)
	content := noise(3, 6<<20)
	var patches atomic.Int32
	server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if tokens.guard(w, r) {
			return true
		}
		if r.Method != http.MethodPatch || patches.Add(1) > 1 {
			return false
		}
		id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		server.mu.Lock()
		u := server.uploads[id]
		server.mu.Unlock()
		_ = server.receive(u, io.LimitReader(r.Body, 2<<20))
		clock.advance(time.Minute)
		tokens.setPassword("job", "second")
		reset(w)
		return true
	})
	provider := &scriptedProvider{answers: []sdk.Credential{basic("job", "first"), basic("job", "second")}}
	client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}, clock: clock})
	blob := growingBlob(content[:3<<20])
	go func() {
		blob.grow(content[3<<20:])
		blob.complete()
	}()
	if _, err := client.Push(t.Context(), server.repository("app"), blob, nil, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(server.blob("app", describe(content)), content) {
		t.Error("the registry has other bytes")
	}
	if diff := cmp.Diff([]string{"initial app pull,push", "unauthorized app pull,push"}, provider.reasons()); diff != "" {
		t.Errorf("credential requests (-want +got):\n%s", diff)
	}
	if sent := bodies(server.seen(http.MethodPatch)); sent > 6<<20+1<<20 {
		t.Errorf("sent %d bytes for a blob of %d", sent, 6<<20)
	}
}

// TestTokenRefusedInTheMiddle has the registry forget its tokens, which by their dates are good, before a chunk.
func TestTokenRefusedInTheMiddle(t *testing.T) {
	t.Parallel()
	clock := newFakeClock()
	tokens := newTokenServer(t, clock, time.Hour)
	tokens.setPassword("anonymous", "yes")
	server := newTestRegistry(t)
	var once sync.Once
	server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch || r.Method == http.MethodPut {
			once.Do(func() {
				tokens.mu.Lock()
				clear(tokens.issued)
				tokens.issued["spare"] = issuedToken{} // so that the next token has another name
				tokens.issued["spare 2"] = issuedToken{}
				tokens.mu.Unlock()
			})
		}
		return tokens.guard(w, r)
	})
	client := newTestClient(t, Options{clock: clock})
	content := noise(4, 6<<20)
	if _, err := client.Push(t.Context(), server.repository("app"), completeBlob(content), nil, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(server.blob("app", describe(content)), content) {
		t.Error("the registry has other bytes")
	}
	if len(clock.pauses()) != 0 {
		t.Errorf("paused %v before the new token was used", clock.pauses())
	}
}

func TestCredentialIsRenewedBeforeItExpires(t *testing.T) {
	t.Parallel()
	clock := newFakeClock()
	server := newTestRegistry(t)
	password := "first"
	server.intercept(basicGuard(func() string { return password }))
	first, second := basic("job", "first"), basic("job", "second")
	first.ExpiresAt = clock.now().Add(100 * time.Second)
	provider := &scriptedProvider{answers: []sdk.Credential{first, second}}
	client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}, clock: clock})
	look := func() {
		t.Helper()
		if _, err := client.Exists(t.Context(), server.repository("app"), digestOf(nil)); err != nil {
			t.Error(err)
		}
	}
	look()
	clock.advance(79 * time.Second)
	look()
	clock.advance(2 * time.Second)
	password = "second"
	look()
	if diff := cmp.Diff([]string{"initial app pull", "expiring app pull"}, provider.reasons()); diff != "" {
		t.Errorf("credential requests (-want +got):\n%s", diff)
	}
}

func TestRefusedCredential(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-hunter2"
	for name, bearer := range map[string]bool{"token server": true, "basic": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := newFakeClock()
			server := newTestRegistry(t)
			server.intercept(basicGuard(func() string { return "another" }))
			if bearer {
				tokens := newTokenServer(t, clock, time.Hour)
				tokens.setPassword("me", "another")
				server.intercept(tokens.guard)
			}
			provider := &scriptedProvider{answers: []sdk.Credential{basic("me", secret)}}
			client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}, clock: clock})
			for range 3 {
				err := client.CheckPush(t.Context(), server.repository("app"))
				if !errors.Is(err, ErrDenied) {
					t.Fatalf("error %v, want %v", err, ErrDenied)
				}
				encoded := base64.StdEncoding.EncodeToString([]byte("me:" + secret))
				if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, secret) || strings.Contains(text, encoded) {
					t.Errorf("the error shows the secret: %s", text)
				}
				if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Hint, "basic credential of me") {
					t.Errorf("hint %q does not say what was refused", e.Hint)
				}
			}
			if diff := cmp.Diff([]string{"initial app pull,push", "unauthorized app pull,push"}, provider.reasons()); diff != "" {
				t.Errorf("credential requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTokenIsRenewedBeforeItExpires(t *testing.T) {
	t.Parallel()
	clock := newFakeClock()
	tokens := newTokenServer(t, clock, 100*time.Second)
	tokens.setPassword("anonymous", "yes")
	server := newTestRegistry(t)
	var refused atomic.Int32
	server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !tokens.guard(w, r) {
			return false
		}
		refused.Add(1)
		return true
	})
	client := newTestClient(t, Options{clock: clock})
	for _, step := range []struct {
		pause  time.Duration
		tokens int
	}{{0, 1}, {79 * time.Second, 1}, {2 * time.Second, 2}, {100 * time.Second, 3}} {
		clock.advance(step.pause)
		if _, err := client.Exists(t.Context(), server.repository("app"), digestOf(nil)); err != nil {
			t.Fatal(err)
		}
		if got := len(tokens.requests()); got != step.tokens {
			t.Errorf("after %s more: %d tokens, want %d", step.pause, got, step.tokens)
		}
	}
	if refused.Load() != 1 { // the first request, which told where the token server is
		t.Errorf("%d requests were refused, want 1", refused.Load())
	}
}

func TestKindsOfCredential(t *testing.T) {
	t.Parallel()
	t.Run("identity token", func(t *testing.T) {
		t.Parallel()
		clock := newFakeClock()
		tokens := newTokenServer(t, clock, time.Hour)
		tokens.setPassword("", "refresh-me")
		server := newTestRegistry(t)
		server.intercept(tokens.guard)
		provider := &scriptedProvider{answers: []sdk.Credential{{Kind: sdk.KindIdentity, Secret: "refresh-me"}}}
		client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}, clock: clock})
		if err := client.CheckPush(t.Context(), server.repository("app")); err != nil {
			t.Fatal(err)
		}
		want := []string{"POST identity test repository:app:pull,push", "POST identity test repository:app:pull,push,delete"}
		if diff := cmp.Diff(want, tokens.requests()); diff != "" {
			t.Errorf("token requests (-want +got):\n%s", diff)
		}
	})
	t.Run("registry token", func(t *testing.T) {
		t.Parallel()
		clock := newFakeClock()
		tokens := newTokenServer(t, clock, time.Hour)
		tokens.issued["given"] = issuedToken{expires: clock.now().Add(time.Hour), scopes: []string{"repository:app:pull,push"}}
		server := newTestRegistry(t)
		server.intercept(tokens.guard)
		provider := &scriptedProvider{answers: []sdk.Credential{{Kind: sdk.KindBearer, Secret: "given"}}}
		client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}, clock: clock})
		if err := client.CheckPush(t.Context(), server.repository("app")); err != nil {
			t.Fatal(err)
		}
		if got := tokens.requests(); len(got) != 0 {
			t.Errorf("the token server was asked %v", got)
		}
	})
	t.Run("one for each repository", func(t *testing.T) {
		t.Parallel()
		server := newTestRegistry(t)
		server.intercept(basicGuard(func() string { return "secret" }))
		answer := basic("me", "secret")
		answer.Scope = sdk.ScopeRepository
		provider := &scriptedProvider{answers: []sdk.Credential{answer}}
		client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}})
		for _, path := range []string{"a", "b", "a"} {
			if err := client.CheckPush(t.Context(), server.repository(path)); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff([]string{"initial a pull,push", "initial b pull,push"}, provider.reasons()); diff != "" {
			t.Errorf("credential requests (-want +got):\n%s", diff)
		}
	})
}

func TestProviders(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	server.intercept(basicGuard(func() string { return "secret" }))
	notMine := &scriptedProvider{err: fmt.Errorf("not here: %w", sdk.ErrNotMine)}
	mine := &scriptedProvider{answers: []sdk.Credential{basic("me", "secret")}}
	broken := &scriptedProvider{err: errors.New("helper is broken")}
	client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{notMine, mine, broken}})
	if err := client.CheckPush(t.Context(), server.repository("app")); err != nil {
		t.Error(err)
	}
	client = newTestClient(t, Options{Credentials: []sdk.CredentialProvider{notMine, broken, mine}})
	if err := client.CheckPush(t.Context(), server.repository("app")); !errors.Is(err, broken.err) {
		t.Errorf("error %v, want %v", err, broken.err)
	}
	client = newTestClient(t, Options{Credentials: []sdk.CredentialProvider{notMine}})
	if err := client.CheckPush(t.Context(), server.repository("app")); !errors.Is(err, ErrDenied) {
		t.Errorf("error %v, want %v", err, ErrDenied)
	}
}

// TestForbiddenBecauseExpired is ECR's way to say that a password has expired.
func TestForbiddenBecauseExpired(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	inner := basicGuard(func() string { return "first" })
	var expired atomic.Bool
	server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		_, got, sent := r.BasicAuth()
		if expired.Load() && sent && got != "second" {
			refuse(w, http.StatusForbidden, "DENIED", "Your authorization token has expired. Reauthenticate and try again.")
			return true
		}
		return !expired.Load() && inner(w, r)
	})
	provider := &scriptedProvider{answers: []sdk.Credential{basic("AWS", "first"), basic("AWS", "second")}}
	client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}})
	for range 2 {
		if err := client.CheckPush(t.Context(), server.repository("app")); err != nil {
			t.Fatal(err)
		}
		expired.Store(true)
	}
	if diff := cmp.Diff([]string{"initial app pull,push", "unauthorized app pull,push"}, provider.reasons()); diff != "" {
		t.Errorf("credential requests (-want +got):\n%s", diff)
	}
}
