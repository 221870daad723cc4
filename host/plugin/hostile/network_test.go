package hostile_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// forbidden is a server that must not be reached.
type forbidden struct {
	*httptest.Server
	hits atomic.Int64
}

func newForbidden(t *trial) *forbidden {
	f := &forbidden{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		f.hits.Add(1)
		io.WriteString(w, canary)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *forbidden) unreached(t *trial) {
	t.Helper()
	if n := f.hits.Load(); n > 0 {
		t.Errorf("the server was reached %d times", n)
	}
}

// redirecting redirects to where the query says, by the status that the path says.
func redirecting(t testing.TB) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.Query().Get("to"))
		w.WriteHeader(map[string]int{"/301": 301, "/302": 302, "/303": 303, "/307": 307, "/308": 308}[r.URL.Path])
	}))
	t.Cleanup(server.Close)
	return server
}

func testRedirect(t *trial) {
	t.Parallel()
	inner, granted := newForbidden(t), redirecting(t)
	sp := spec("redirect", sdk.KindCredential)
	sp.Allow.Hosts = []string{granted.URL}
	s := load(t, sp)
	for _, to := range []string{inner.URL, strings.Replace(inner.URL, "127.0.0.1", "localhost", 1), "//" + strings.TrimPrefix(inner.URL, "http://")} {
		for _, status := range []string{"/302", "/303", "/307", "/308", "/301"} {
			_, err := s.ask(granted.URL + status + "?to=" + to)
			t.refused(err, sdk.CodeDenied, "is not granted", "plugins.hostile.allow.hosts")
		}
	}
	_, err := s.ask(granted.URL + "/302?to=" + inner.URL)
	t.fails(err, sdk.CodeDenied)
	for _, to := range []string{"file:///etc/passwd", "gopher://127.0.0.1/"} {
		_, err := s.ask(granted.URL + "/302?to=" + to)
		t.refused(err, sdk.CodeInvalid, "redirects to")
	}
	inner.unreached(t)
	s.works()
}

func testRebind(t *trial) {
	t.Parallel()
	inner := newForbidden(t)
	_, port, err := net.SplitHostPort(inner.Listener.Addr().String())
	must(t, err)
	public, err := net.Listen("tcp", "127.0.0.2:"+port)
	must(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "public") })}
	server.SetKeepAlivesEnabled(false)
	go server.Serve(public)
	t.Cleanup(func() { must(t, server.Close()) })
	names := serveNames(t, map[string][]string{
		"rebind.example.com.": {"127.0.0.2", "127.0.0.1"}, "meta.example.com.": {"169.254.169.254"}, "lan.example.com.": {"10.0.0.1"},
	})
	services, err := service.New(service.Options{
		Plugin: "hostile", Kind: sdk.KindCredential, Resolver: names,
		Grants: service.Grants{Hosts: []string{
			"127.0.0.2", "169.254.0.0/16", // a range does not name the metadata service
			"http://rebind.example.com:" + port, "http://meta.example.com", "http://lan.example.com",
		}},
	})
	must(t, err)
	t.Cleanup(services.Close)
	p := opened(t, bytesOf(t, "rebind"), transport.Limits{}, services, nil)
	_, err = p.Hello(t.Context())
	must(t, err)
	provider := abi.NewClient(p).Credential()
	ask := func(url string) (string, error) { return askProvider(t.Context(), provider, url) }

	if got, err := ask("http://rebind.example.com:" + port); err != nil || got != "200 public" {
		t.Fatalf("at its first address: %q, %v", got, err)
	}
	_, err = ask("http://rebind.example.com:" + port)
	t.fails(err, sdk.CodeDenied, "resolves to 127.0.0.1, a loopback address", "plugins.hostile.allow.hosts")
	_, err = ask("http://meta.example.com/latest/meta-data/")
	t.fails(err, sdk.CodeDenied, "where a cloud gives out credentials")
	_, err = ask("http://lan.example.com/")
	t.refused(err, sdk.CodeDenied, "a private address")
	for _, host := range []string{
		"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "0x7f.1", "2130706433", "127.1",
		"rebind.example.com@127.0.0.1", "169.254.169.254", "[fd00:ec2::254]", "LOCALHOST.",
	} {
		if got, err := ask("http://" + host + ":" + port + "/"); err == nil || sdk.AsError(err).Code != sdk.CodeDenied && sdk.AsError(err).Code != sdk.CodeInvalid {
			t.Errorf("%s: %q, %v", host, got, err)
		}
	}
	inner.unreached(t)
}

func testPlan(t *trial) {
	t.Parallel()
	must(t, compile("plan"))
	inner, granted := newForbidden(t), redirecting(t)
	blob := sdk.Blob{Digest: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", Size: 4} // of "test"
	content := sdk.Content{Open: openText("test")}
	for i, to := range []string{inner.URL, granted.URL + "/307?to=" + inner.URL, "http://169.254.169.254/latest/", "file:///etc/passwd"} {
		sp := spec("plan", sdk.KindCache)
		sp.Config = map[string]any{"to": to}
		sp.Allow = service.Grants{Hosts: []string{granted.URL}, Secrets: map[string]service.Secret{
			"key": {SecretSource: service.SecretSource{Env: canaryVariable}, Use: service.UseHeader},
		}}
		s := load(t, sp)
		cache := s.set.Caches[0].Backend
		code := sdk.CodeDenied
		if strings.HasPrefix(to, "file:") {
			code = sdk.CodeInvalid
		}
		err := fetch(t, cache, blob.Digest)
		t.refused(err, code)
		putErr := cache.PutBlob(t.Context(), blob, content)
		t.refused(putErr, code)
		for _, e := range []error{err, putErr} {
			if strings.Contains(e.Error(), canary) {
				t.Errorf("the error has the secret: %v", e)
			}
		}
		if i == 0 {
			t.fails(err, code, "plugins.hostile.allow.hosts")
		}
		s.works()
	}
	inner.unreached(t)
}
