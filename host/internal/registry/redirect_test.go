package registry

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/trowel-build/trowel/sdk"
)

// TestRedirectCarriesNoCredential has blobs on another host, whose addresses are good for one request each.
func TestRedirectCarriesNoCredential(t *testing.T) {
	t.Parallel()
	content := noise(1, 1<<20)
	storage, server := newTestRegistry(t), newTestRegistry(t)
	descriptor := server.add("app", content)
	storage.add("app", content)
	var signature, downloads atomic.Int32
	storage.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("signature") != fmt.Sprint(signature.Load()) {
			refuse(w, http.StatusForbidden, "DENIED", "stale")
			return true
		}
		if downloads.Add(1) > 1 {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:1000])
		w.(http.Flusher).Flush()
		reset(w)
		return true
	})
	guard := basicGuard(func() string { return "secret" })
	server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if guard(w, r) {
			return true
		}
		// Another port of the same host is another host.
		http.Redirect(w, r, fmt.Sprintf("%s%s?signature=%d", storage.URL, r.URL.Path, signature.Add(1)), http.StatusTemporaryRedirect)
		return true
	})
	provider := &scriptedProvider{answers: []sdk.Credential{basic("me", "secret")}}
	client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}})
	if got, err := readBlob(t, client, server.repository("app"), descriptor); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	if len(storage.seen("")) != 2 {
		t.Errorf("the storage was asked %d times, want 2", len(storage.seen("")))
	}
	for _, r := range storage.seen("") {
		if r.Authorization != "" {
			t.Errorf("the storage was sent %q", r.Authorization)
		}
	}
}

// TestUploadElsewhere has uploads go to another host, which must not see a credential, and whose words do not matter.
func TestUploadElsewhere(t *testing.T) {
	t.Parallel()
	storage, server := newTestRegistry(t), newTestRegistry(t)
	guard := basicGuard(func() string { return "secret" })
	var location atomic.Value
	server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if guard(w, r) {
			return true
		}
		if r.Method != http.MethodPost {
			return false
		}
		resp, err := http.Post(storage.URL+r.URL.Path, "", nil)
		if err != nil {
			t.Error(err)
			return false
		}
		resp.Body.Close()
		location.Store(resp.Header.Get("Location"))
		w.Header().Set("Location", storage.URL+resp.Header.Get("Location"))
		w.WriteHeader(http.StatusAccepted)
		return true
	})
	provider := &scriptedProvider{answers: []sdk.Credential{basic("me", "secret")}}
	client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{provider}})
	content := noise(2, 5<<20)
	if _, err := client.Push(t.Context(), server.repository("app"), completeBlob(content), nil, nil); err != nil {
		t.Fatal(err)
	}
	if storage.blob("app", describe(content)) == nil {
		t.Error("the blob did not arrive")
	}
	for _, r := range storage.seen("") {
		if r.Authorization != "" {
			t.Errorf("the storage was sent %q", r.Authorization)
		}
	}
	storage.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Basic realm="give me"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "inside information")
		return true
	})
	_, err := client.Push(t.Context(), server.repository("app"), completeBlob(noise(3, 5<<20)), nil, nil)
	if !errors.Is(err, ErrDenied) || strings.Contains(err.Error(), "inside information") {
		t.Errorf("error %v", err)
	}
	for _, r := range storage.seen("") {
		if r.Authorization != "" {
			t.Errorf("the storage was sent %q after it asked", r.Authorization)
		}
	}
}

func TestRedirectLoop(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, r.URL.Path, http.StatusFound)
		return true
	})
	_, err := newTestClient(t, Options{}).Exists(t.Context(), server.repository("app"), digestOf(nil))
	if !errors.Is(err, errTooManyRedirects) {
		t.Errorf("error %v, want %v", err, errTooManyRedirects)
	}
	if got := len(server.seen("")); got != maxRedirects+1 {
		t.Errorf("sent %d requests, want %d", got, maxRedirects+1)
	}
}

func TestErrorShowsNoAddress(t *testing.T) {
	t.Parallel()
	dead := httptest.NewServer(nil)
	dead.Close()
	server := newTestRegistry(t)
	descriptor := server.add("app", noise(4, 10))
	server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, dead.URL+"/bucket?X-Amz-Signature=secret-signature", http.StatusTemporaryRedirect)
		return true
	})
	_, err := readBlob(t, newTestClient(t, Options{}), server.repository("app"), descriptor)
	want := "connect to " + strings.TrimPrefix(dead.URL, "http://") + ": connection refused"
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %v\n want %s", err, want)
	}
	if text := fmt.Sprintf("%v", err); strings.Contains(text, "signature") {
		t.Errorf("the error shows the address: %s", text)
	}
}

func TestLocationKeepsTLS(t *testing.T) {
	t.Parallel()
	h, err := newHost("registry.example.com", Settings{}, Options{}.withDefaults(), nil)
	if err != nil {
		t.Fatal(err)
	}
	at, _ := url.Parse("https://registry.example.com/v2/app/blobs/uploads/")
	for location, want := range map[string]string{
		"/v2/app/blobs/uploads/1?_state=a%2Fb%3D":            "https://registry.example.com/v2/app/blobs/uploads/1?_state=a%2Fb%3D",
		"http://registry.example.com/v2/app/blobs/uploads/1": "https://registry.example.com/v2/app/blobs/uploads/1",
		"https://me:secret@storage.example.com/1":            "https://storage.example.com/1",
		"2":                  "https://registry.example.com/v2/app/blobs/uploads/2",
		"file:///etc/passwd": "",
		"":                   "",
		"http://registry.example.com.evil.example/v2/app/uploads/1#": "http://registry.example.com.evil.example/v2/app/uploads/1",
	} {
		resp := &http.Response{Header: http.Header{"Location": {location}}, Request: &http.Request{URL: at}}
		got, err := h.location(resp)
		if want == "" {
			if err == nil {
				t.Errorf("location %q = %s, want an error", location, got)
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("location %q = %v, %v; want %s", location, got, err, want)
		}
		if h.owns(got) != strings.HasPrefix(want, "https://registry.example.com/") {
			t.Errorf("location %q: trusted is %t", location, h.owns(got))
		}
	}
}
