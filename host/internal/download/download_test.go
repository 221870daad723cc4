package download

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/internal/blob"
	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/kept"
	"github.com/trowel-build/trowel/host/internal/progress"
	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/host/internal/secret"
)

type silent struct{}

func (silent) Report(progress.Event) {}

// newClient is a client without a cache, that has one secret for all hosts on 127.0.0.1.
func newClient(t *testing.T) *Client {
	t.Helper()
	web, err := registry.New(registry.Options{Retry: registry.Retry{Attempts: 2, Base: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	store, err := blob.Open(t.TempDir() + "/blobs")
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := secret.NewStore(map[string]secret.Source{"HTTP_AUTH_TOKEN_127.0.0.1": {Value: []byte("swordfish")}})
	if err != nil {
		t.Fatal(err)
	}
	return &Client{Web: web, Copies: kept.Copies{Store: store, Cache: cache.NewTiers(nil, nil, func(string) {})}, Secrets: secrets, Progress: silent{}}
}

// text downloads and reads a file.
func text(t *testing.T, c *Client, address string, want digest.Digest) (string, error) {
	t.Helper()
	d, err := c.Resolve(t.Context(), address, want)
	if err != nil {
		return "", err
	}
	tree, err := d.Tree(t.Context(), "f")
	if err != nil {
		return "", err
	}
	node, ok := tree.Lookup("f")
	if !ok || node.Size() == 0 {
		return "", nil
	}
	source, ref := node.Source("f")
	r, err := source.Open(t.Context(), ref)
	if err != nil {
		return "", err
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	return string(content), err
}

const whole = "0123456789"

// answer is what a server does with one request.
type answer struct {
	status      int
	etag        string
	part        string // Content-Range
	length, end int    // Content-Length, and how much of the file is sent; from is where it begins
	from        int
}

// TestTransfers has servers that break off and go on, well and badly.
func TestTransfers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answers []answer // the last one for all further requests
		sum     digest.Digest
		want    string // of the file; or the error, after "!"
		ranges  string // what was asked for
	}{
		"whole":              {answers: []answer{{status: 200, length: 10, end: 10}}, want: whole, ranges: ","},
		"goes on":            {answers: []answer{{status: 200, etag: `"a"`, length: 10, end: 4}, {status: 206, etag: `"a"`, part: "bytes 4-9/10", from: 4, length: 6, end: 10}}, want: whole, ranges: `,|bytes=4-,"a"`},
		"of unknown length":  {answers: []answer{{status: 200, etag: `"a"`, length: 10, end: 4}, {status: 206, part: "bytes 4-9/*", from: 4, length: 6, end: 10}}, want: whole, ranges: `,|bytes=4-,"a"`},
		"weak tag":           {answers: []answer{{status: 200, etag: `W/"a"`, length: 10, end: 4}, {status: 200, length: 10, end: 10}}, want: whole, ranges: ",|,"},
		"no tag":             {answers: []answer{{status: 200, length: 10, end: 4}, {status: 200, length: 10, end: 10}}, want: whole, ranges: ",|,"},
		"changed":            {answers: []answer{{status: 200, etag: `"a"`, length: 10, end: 4}, {status: 200, etag: `"b"`, length: 8, end: 8}}, want: whole[:8], ranges: `,|bytes=4-,"a"`},
		"another part":       {answers: []answer{{status: 200, etag: `"a"`, length: 10, end: 4}, {status: 206, part: "bytes 3-9/10", from: 3, length: 7, end: 10}}, want: "!another part"},
		"part of another":    {answers: []answer{{status: 200, etag: `"a"`, length: 10, end: 4}, {status: 206, etag: `"b"`, part: "bytes 4-9/10", from: 4, length: 6, end: 10}}, want: "!another part"},
		"too small a part":   {answers: []answer{{status: 200, etag: `"a"`, length: 10, end: 4}, {status: 206, etag: `"a"`, part: "bytes 4-6/10", from: 4, length: 3, end: 7}}, want: "!another part"},
		"a part unasked for": {answers: []answer{{status: 206, part: "bytes 0-9/10", length: 10, end: 10}}, want: "!another part"},
		"unchanged, unasked": {answers: []answer{{status: 304}}, want: "!is unchanged"},
		"always breaks":      {answers: []answer{{status: 200, length: 10, end: 4}}, want: "!download"},
		"breaks sooner and later": {answers: []answer{
			{status: 200, length: 10, end: 4},
			{status: 200, length: 10, end: 3},
			{status: 200, length: 10, end: 4},
			{status: 200, length: 10, end: 3},
			{status: 200, length: 10, end: 4},
			{status: 200, length: 10, end: 3},
			{status: 200, length: 10, end: 4},
			{status: 200, length: 10, end: 10},
		}, want: "!download"},
		"refused":      {answers: []answer{{status: 404}}, want: "!not found"},
		"other digest": {answers: []answer{{status: 200, length: 10, end: 10}}, sum: digest.FromString("x"), want: "!digest mismatch"},
		"digest":       {answers: []answer{{status: 200, length: 10, end: 10}}, sum: digest.FromString(whole), want: whole},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				a := c.answers[min(len(asked), len(c.answers)-1)]
				asked = append(asked, r.Header.Get("Range")+","+r.Header.Get("If-Range"))
				for key, value := range map[string]string{"ETag": a.etag, "Content-Range": a.part} {
					if value != "" {
						w.Header().Set(key, value)
					}
				}
				if a.length > 0 {
					w.Header().Set("Content-Length", fmt.Sprint(a.length))
				}
				w.WriteHeader(a.status)
				_, _ = io.WriteString(w, whole[a.from:max(a.from, a.end)])
				if a.end < a.from+a.length {
					_ = http.NewResponseController(w).Flush()
					panic(http.ErrAbortHandler)
				}
			}))
			t.Cleanup(server.Close)
			got, err := text(t, newClient(t), server.URL+"/f", c.sum)
			if mark, bad := strings.CutPrefix(c.want, "!"); bad {
				if err == nil || !strings.Contains(err.Error(), mark) {
					t.Fatalf("got %q, %v after %q, want an error with %q", got, err, asked, mark)
				}
				return
			}
			if err != nil || got != c.want {
				t.Fatalf("got %q, %v, want %q", got, err, c.want)
			}
			if seen := strings.Join(asked, "|"); c.ranges != "" && seen != c.ranges {
				t.Errorf("asked for %q, want %q", seen, c.ranges)
			}
		})
	}
}

// TestSecretStays holds that a secret is shown to the host of the address alone, and not again once a request has left it.
func TestSecretStays(t *testing.T) {
	t.Parallel()
	var shown atomic.Value
	var home *httptest.Server
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			shown.Store("away: " + r.Header.Get("Authorization"))
		}
		http.Redirect(w, r, home.URL+"/back", http.StatusFound)
	}))
	t.Cleanup(away.Close)
	home = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch got := r.Header.Get("Authorization"); r.URL.Path {
		case "/near":
			http.Redirect(w, r, "/file", http.StatusFound)
		case "/far":
			http.Redirect(w, r, strings.Replace(away.URL, "http://", "http://me:chosen@", 1)+"/", http.StatusFound)
		case "/file":
			_, _ = io.WriteString(w, got)
		case "/back":
			_, _ = io.WriteString(w, "back "+got)
		}
	}))
	t.Cleanup(home.Close)
	me := strings.Replace(home.URL, "http://", "http://me:pw@", 1)
	for address, want := range map[string]string{
		home.URL + "/file": "Bearer swordfish", home.URL + "/near": "Bearer swordfish", home.URL + "/far": "back ", me + "/far": "back ",
		strings.Replace(home.URL, "127.0.0.1", "localhost", 1) + "/file": "",
		strings.Replace(me, "127.0.0.1", "localhost", 1) + "/file":       "Basic bWU6cHc=",
	} {
		if got, err := text(t, newClient(t), address, ""); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", address, got, err, want)
		}
	}
	if got := shown.Load(); got != nil {
		t.Error(got)
	}
}

// TestErrorsHideSecrets holds that no error names the user, the password or the query of an address.
func TestErrorsHideSecrets(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	for _, address := range []string{
		strings.Replace(server.URL, "http://", "http://me:hidden@", 1) + "/f?token=hidden#hidden",
		"http://me:hidden@127.0.0.1:1/f", "ftp://me:hidden@example.com/f", "http://me:hidden@exa mple/f", "http://%zz:hidden@/f",
	} {
		if _, err := text(t, newClient(t), address, ""); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestName(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"http://a/b/c": "c", "http://a/b/": "b", "http://a": unnamed, "http://a/": unnamed, "http://a/b%2Fc": "c", "http://a/x?y=z#w": "x",
		"http://a/..": "!", "http://a/b%0Ac": "!", "http://a/%2e%2e": "!", "http://a/%00": "!",
	} {
		got, err := Name(address)
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("Name(%s) = %q, %v, want %q", address, got, err, want)
		}
	}
}
