package artifact

import (
	"encoding/binary"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/host/plugin/manifest"
	"github.com/trowel-build/trowel/host/plugin/store"
	"github.com/trowel-build/trowel/sdk"
)

// about is the manifest of a plugin.
func about(version string, wants manifest.Wants) manifest.Manifest {
	return manifest.Manifest{
		ABI: 1, Name: "demo", Version: version, Kinds: []sdk.Kind{sdk.KindCache}, Summary: "Shows things",
		Home: "https://example.com", Source: "https://git.example.com/demo", Language: "go", Wants: wants,
	}
}

func with(t *testing.T, program []byte, m manifest.Manifest) []byte {
	t.Helper()
	out, err := manifest.Append(program, m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// bareModule is the least there can be of a plugin.
func bareModule() []byte {
	return []byte("\x00asm\x01\x00\x00\x00" + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" + "\x07\x10\x01\x0ctrowel_abi_1\x00\x00" + "\x0a\x04\x01\x02\x00\x0b")
}

func wasm(t *testing.T, version string) []byte {
	t.Helper()
	return with(t, bareModule(), about(version, manifest.Wants{}))
}

// elf is the head of a program for a processor.
func elf(t *testing.T, arch, version string) []byte {
	t.Helper()
	b := make([]byte, 120)
	copy(b, "\x7fELF\x02\x01\x01")
	b[16] = 2
	binary.LittleEndian.PutUint16(b[18:], map[string]uint16{"amd64": 62, "arm64": 183}[arch])
	b[32], b[54], b[56] = 64, 56, 1
	b[64] = 1
	return with(t, b, about(version, manifest.Wants{}))
}

// otherArch is one that this machine is not.
func otherArch() string {
	if runtime.GOARCH == "amd64" {
		return "arm64"
	}
	return "amd64"
}

// server is a registry that can be looked at, and changed on the way.
type server struct {
	*httptest.Server
	requests atomic.Int64
	// intercept answers in the registry's stead if it returns true.
	intercept atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
}

func serve(t *testing.T, options ...ggcr.Option) *server {
	t.Helper()
	handler := ggcr.New(append(options, ggcr.Logger(log.New(io.Discard, "", 0)))...)
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if do := s.intercept.Load(); do != nil && (*do)(w, r) {
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) host() string { return strings.TrimPrefix(s.URL, "http://") }

// source is a reference in the registry.
func (s *server) source(rest string) string { return scheme + s.host() + "/plugins/demo" + rest }

// client has a store of its own, unless the options say another.
func client(t *testing.T, options Options) *Client {
	t.Helper()
	if options.Store == nil {
		options.Store = newStore(t)
	}
	options.retry = registry.Retry{Attempts: 2, Base: time.Millisecond}
	c, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "plugins"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// push pushes with a client of its own.
func push(t *testing.T, to string, programs ...[]byte) string {
	t.Helper()
	d, err := client(t, Options{}).Push(t.Context(), to, programs, PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// fetch is what lies in a registry under a path such as "manifests/1".
func fetch(t *testing.T, s *server, path string) (body, mediaType string) {
	t.Helper()
	resp, err := http.Get(s.URL + "/v2/plugins/demo/" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", path, resp.Status, err)
	}
	return string(b), resp.Header.Get("Content-Type")
}

func mirrored(origin, mirror *server) map[string]registry.Settings {
	return map[string]registry.Settings{origin.host(): {Mirrors: []string{mirror.host()}}}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error is %v\nwant %q in it", err, part)
		}
	}
}

func wantHint(t *testing.T, err error, part string) {
	t.Helper()
	for e := err; e != nil; {
		if h, ok := e.(interface{ Hint() string }); ok && strings.Contains(h.Hint(), part) {
			return
		}
		u, ok := e.(interface{ Unwrap() error })
		if !ok {
			break
		}
		e = u.Unwrap()
	}
	t.Errorf("no hint %q with %v", part, err)
}
