package registry

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
)

// A registry that may be insecure is reached over HTTPS with whatever certificate it has, or else over plain HTTP.
func TestInsecure(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(http.Handler) *httptest.Server{"HTTPS": httptest.NewTLSServer, "HTTP": httptest.NewServer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var secured, plain atomic.Int64
			inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
			server := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.TLS != nil {
					secured.Add(1)
				} else {
					plain.Add(1)
				}
				inner.ServeHTTP(w, r)
			}))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			t.Cleanup(server.Close)
			_, address, _ := strings.Cut(server.URL, "://")
			c, err := New(Options{Default: Settings{TLS: TLSInsecure}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			for range 3 {
				if err := c.CheckPush(t.Context(), Repository{Registry: address, Path: "app"}); err != nil {
					t.Fatal(err)
				}
			}
			if (secured.Load() > 0) != (name == "HTTPS") || (plain.Load() > 0) != (name == "HTTP") {
				t.Errorf("%d requests over TLS, %d without", secured.Load(), plain.Load())
			}
		})
	}
}

// With MirrorsOnly the registry itself is not asked, and without mirrors it is.
func TestMirrorsOnly(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(own.Close)
	mirror := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(mirror.Close)
	name := strings.TrimPrefix(own.URL, "http://")
	for _, tt := range []struct {
		mirrors []string
		want    bool
	}{{nil, true}, {[]string{strings.TrimPrefix(mirror.URL, "http://")}, false}} {
		asked.Store(0)
		c, err := New(Options{Registries: map[string]Settings{name: {Mirrors: tt.mirrors, MirrorsOnly: true}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Resolve(t.Context(), Repository{Registry: name, Path: "app"}.Tagged("1")); err == nil {
			t.Error("found what nobody has")
		}
		c.Close()
		if got := asked.Load() > 0; got != tt.want {
			t.Errorf("mirrors %q: the registry was asked: %t", tt.mirrors, got)
		}
	}
}
