package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/sdk"
)

// onetime is a token server whose password is good until it is rotated, and the provider that knows the present one.
type onetime struct {
	*tokenServer
	rotations int
	asked     []string
}

func (o *onetime) Credential(_ context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, string(request.Reason))
	return basic("job", o.passwords["job"]), nil
}

// rotate ends every token and the password.
func (o *onetime) rotate() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rotations++
	o.passwords["job"] = fmt.Sprintf("password %d", o.rotations)
	for name := range o.issued {
		o.issued[name] = issuedToken{}
	}
}

// kinds are the requests of a pull and a push, in words.
func kindOf(r *http.Request) string {
	kind := r.Method
	switch path := r.URL.Path; {
	case strings.Contains(path, "/manifests/"):
		kind += " manifest"
	case strings.Contains(path, "/blobs/uploads/"):
		kind += " upload"
	default:
		kind += " blob"
	}
	switch {
	case r.URL.Query().Get("mount") != "":
		kind += ", mounted"
	case r.URL.Query().Get("digest") != "" && r.ContentLength > 0:
		kind += ", whole"
	case r.URL.Query().Get("digest") != "":
		kind += ", committed"
	case r.Header.Get("Content-Range") != "":
		kind += ", in chunks"
	case r.Header.Get("Range") != "":
		kind += ", from the middle"
	}
	return kind
}

// TestEveryRequestOutlastsItsCredential ends all tokens and the password just before one kind of request, for each kind
// there is. Whatever is under way goes on with a new password, which is asked for once.
func TestEveryRequestOutlastsItsCredential(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{
		"HEAD manifest", "GET manifest", "GET blob", "GET blob, from the middle", "HEAD blob", "POST upload, mounted", "POST upload",
		"PATCH upload", "GET upload", "PATCH upload, in chunks", "PUT upload, committed", "PUT upload, whole", "PUT manifest",
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			clock := newFakeClock()
			tokens := &onetime{tokenServer: newTokenServer(t, clock, time.Hour)}
			tokens.rotate()
			server := newTestRegistry(t)
			var expire, breakGet, breakPatch sync.Once
			server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if kindOf(r) == kind && r.Header.Get("Authorization") != "" {
					expire.Do(tokens.rotate)
				}
				if tokens.guard(w, r) {
					return true
				}
				switch kindOf(r) {
				case "GET blob":
					breakGet.Do(func() {
						w.Header().Set("Content-Length", fmt.Sprint(1<<20))
						_, _ = w.Write(noise(1, 1<<20)[:1<<19])
						w.(http.Flusher).Flush()
						reset(w)
					})
				case "PATCH upload":
					breakPatch.Do(func() {
						id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
						server.mu.Lock()
						u := server.uploads[id]
						server.mu.Unlock()
						_ = server.receive(u, io.LimitReader(r.Body, 2<<20))
						reset(w)
					})
				}
				return false
			})
			client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{tokens}, clock: clock})
			buildLike(t, client, server)
			if tokens.rotations != 2 {
				t.Fatalf("there was no request %q: %v", kind, server.seen(""))
			}
			if diff := cmp.Diff([]string{"initial", "unauthorized"}, tokens.asked); diff != "" {
				t.Errorf("the provider was asked (-want +got):\n%s", diff)
			}
		})
	}
}

// buildLike pulls and pushes as a build does: a base, a mount of it, a layer that grows, a small blob, the manifest.
func buildLike(t *testing.T, client *Client, server *testRegistry) {
	t.Helper()
	base, layer, config := noise(1, 1<<20), noise(2, 8<<20), []byte("{}")
	server.add("base", base)
	raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[]}`,
		ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, digestOf(config))
	server.mu.Lock()
	server.manifests["base@1"] = storedManifest{ocispec.MediaTypeImageManifest, raw}
	server.mu.Unlock()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, app := t.Context(), server.repository("app")
	_, err := client.Resolve(ctx, server.repository("base").Tagged("1"))
	must(err)
	_, _, err = client.Manifest(ctx, server.repository("base").Tagged("1"))
	must(err)
	got, err := readBlob(t, client, server.repository("base"), describe(base))
	if err != nil || !bytes.Equal(got, base) {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	outcome, err := client.Push(ctx, app, completeBlob(base), []Repository{server.repository("base")}, nil)
	if err != nil || outcome != Mounted {
		t.Fatalf("Push = %q, %v; want %q", outcome, err, Mounted)
	}
	blob := growingBlob(layer[:3<<20])
	go func() {
		blob.grow(layer[3<<20:])
		blob.complete()
	}()
	_, err = client.Push(ctx, app, blob, nil, nil)
	must(err)
	_, err = client.Push(ctx, app, completeBlob(config), nil, nil)
	must(err)
	must(client.PutManifest(ctx, app.Tagged("1"), ocispec.MediaTypeImageManifest, raw))
	for _, content := range [][]byte{base, layer, config} {
		if !bytes.Equal(server.blob("app", describe(content)), content) {
			t.Errorf("the registry has other bytes than the %d pushed", len(content))
		}
	}
}

// TestRefreshTokenExpires has the token server give a refresh token of its own, and stop taking it before the one that
// the provider gave.
func TestRefreshTokenExpires(t *testing.T) {
	t.Parallel()
	clock := newFakeClock()
	tokens := newTokenServer(t, clock, time.Minute)
	tokens.setPassword("", "from the provider")
	tokens.extra = `,"refresh_token":"short-lived"`
	server := newTestRegistry(t)
	server.intercept(tokens.guard)
	provider := &scriptedProvider{answers: []sdk.Credential{{Kind: sdk.KindIdentity, Secret: "from the provider"}}}
	client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}, clock: clock})
	for range 3 {
		if err := client.CheckPush(t.Context(), server.repository("app")); err != nil {
			t.Fatal(err)
		}
		clock.advance(2 * time.Minute)
	}
	if diff := cmp.Diff([]string{"initial app pull,push"}, provider.reasons()); diff != "" {
		t.Errorf("credential requests (-want +got):\n%s", diff)
	}
}
