//go:build e2e

package e2e

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// rate is how many bytes a second the slow proxy lets through where it is slow.
const rate = 256 << 10

// slowness says what the proxy makes slow.
type slowness struct {
	pull bool // the first transfer of a large blob, which breaks after tokenLife
	push bool // the first upload of a large one, which does so too, and the one before the manifest
}

// slowProxy stands before a registry, as a bad connection does, and takes notes.
type slowProxy struct {
	*httptest.Server
	authority *authority
	slow      slowness

	mu    sync.Mutex
	once  map[string]bool
	notes []note
}

// note is a request and what became of it.
type note struct {
	kind   string
	status int
	token  string        // that it carried
	age    time.Duration // of the token
	at     time.Duration // since the proxy started
}

func newSlowProxy(t *testing.T, registry string, a *authority, slow slowness) *slowProxy {
	t.Helper()
	behind, err := url.Parse("http://" + registry)
	if err != nil {
		t.Fatal(err)
	}
	p := &slowProxy{authority: a, slow: slow, once: map[string]bool{}}
	started := time.Now()
	forward := httputil.NewSingleHostReverseProxy(behind)
	forward.FlushInterval = -1
	forward.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	forward.ModifyResponse = func(resp *http.Response) error {
		n := note{kind: kindOf(resp.Request), status: resp.StatusCode, at: time.Since(started)}
		n.token = strings.TrimPrefix(resp.Request.Header.Get("Authorization"), "Bearer ")
		n.age, _ = a.age(n.token)
		p.mu.Lock()
		p.notes = append(p.notes, n)
		p.mu.Unlock()
		if slow.push && n.kind == "PUT upload, whole" && n.status < 300 { // among them the config: the manifest comes next
			time.Sleep(tokenLife + time.Second - n.age)
		}
		if n.kind == "GET blob" && resp.ContentLength > smallest && resp.StatusCode == http.StatusOK && slow.pull && p.first(n.kind) {
			resp.Body = newSlowBody(resp.Body)
		}
		return nil
	}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if kind := kindOf(r); slow.push && kind == "PATCH upload" && r.Header.Get("Authorization") != "" && p.first(kind) {
			r.Body = newSlowBody(r.Body)
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// smallest is the size above which a blob counts as large.
const smallest = 4 << 20

func (p *slowProxy) address() string { return strings.TrimPrefix(p.URL, "http://") }

// first says whether this is the first of its kind.
func (p *slowProxy) first(kind string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.once[kind]
	p.once[kind] = true
	return !before
}

func (p *slowProxy) seen() []note {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]note(nil), p.notes...)
}

// kindOf is what a request is for, in words.
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
	switch query := r.URL.Query(); {
	case query.Has("mount"):
		kind += ", mounted"
	case query.Has("digest") && r.ContentLength > 0:
		kind += ", whole"
	case query.Has("digest"):
		kind += ", committed"
	case r.Header.Get("Content-Range") != "":
		kind += ", in chunks"
	case r.Header.Get("Range") != "":
		kind += ", from the middle"
	}
	return kind
}

// slowBody lets rate bytes a second through, and breaks when tokenLife is over.
type slowBody struct {
	io.ReadCloser
	until time.Time
}

func newSlowBody(body io.ReadCloser) *slowBody {
	return &slowBody{body, time.Now().Add(tokenLife + 1500*time.Millisecond)}
}

var errBroken = errors.New("the connection breaks")

func (b *slowBody) Read(p []byte) (int, error) {
	const step = rate / 20
	if time.Now().After(b.until) {
		return 0, errBroken
	}
	time.Sleep(time.Second / 20)
	return b.ReadCloser.Read(p[:min(len(p), step)])
}
