package service_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
)

func TestHTTPReachesWhatIsGranted(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port := l.serve(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", r.Method+" "+r.Host+r.URL.String()+" "+r.Header.Get("X-Mine")+" "+r.Header.Get("User-Agent"))
		w.WriteHeader(http.StatusTeapot)
		w.Write(body)
	}, "a.example.com", "127.0.0.1")
	l.names.set("a.example.com", []string{"127.0.0.1"})
	s := l.services(service.Grants{Hosts: []string{"a.example.com:" + port, "127.0.0.1"}})
	r := get(t, s, sdk.HTTPRequest{
		Method: "PUT", URL: "https://A.example.com.:" + port + "/x%2Fy?q=1#f", Body: []byte("hello"), Header: []sdk.Header{{Name: "x-mine", Value: "1"}},
	})
	wantBody(t, r, "hello")
	if want := "PUT a.example.com:" + port + "/x%2Fy?q=1 1 trowel"; r.Status != 418 || r.Get("X-Seen") != want {
		t.Errorf("status %d, seen %q, want %q", r.Status, r.Get("X-Seen"), want)
	}
}

func TestHTTPRefusesWhatIsNotGranted(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var reached atomic.Int64
	port := l.serve(func(http.ResponseWriter, *http.Request) { reached.Add(1) }, "a.example.com", "localhost", "127.0.0.1")
	l.names.set("a.example.com", []string{"127.0.0.1"})
	l.names.set("meta.example.com", []string{"169.254.169.254"})
	l.names.set("ten.example.com", []string{"10.1.2.3"})
	s := l.services(service.Grants{Hosts: []string{"a.example.com:" + port, "meta.example.com", "ten.example.com:9000"}})
	for address, want := range map[string]string{
		"https://b.example.com/":             `add "b.example.com" to plugins.p.allow.hosts`,
		"http://a.example.com:" + port + "/": `add "http://a.example.com:` + port + `" to plugins.p.allow.hosts`,
		"https://127.0.0.1:" + port + "/":    `add "127.0.0.1:` + port + `" to plugins.p.allow.hosts`,
		"https://localhost:" + port + "/":    `add "localhost:` + port + `" to plugins.p.allow.hosts`,
		"https://[::1]:" + port + "/":        `add "[::1]:` + port + `" to plugins.p.allow.hosts`,
		"https://a.example.com:" + port:      `a.example.com resolves to 127.0.0.1, a loopback address: add "127.0.0.1" to plugins.p.allow.hosts`,
		"https://meta.example.com/":          "meta.example.com resolves to 169.254.169.254, where a cloud gives out credentials",
		"https://ten.example.com:9000/":      `ten.example.com resolves to 10.1.2.3, a private address: add "10.1.2.3" to plugins.p.allow.hosts`,
	} {
		wantFailure(t, get(t, s, sdk.HTTPRequest{URL: address}), sdk.CodeDenied, want)
	}
	if reached.Load() != 0 {
		t.Error("a request reached the server")
	}
}

func TestHTTPRebinding(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port := l.serve(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		io.WriteString(w, "ok")
	}, "a.example.com")
	// The name server says 127.0.0.1, which is granted, and the next time an address that answers as well and is not.
	l.names.set("a.example.com", []string{"127.0.0.1"}, []string{"127.0.0.2"})
	s := l.services(service.Grants{Hosts: []string{"a.example.com:" + port, "127.0.0.1"}})
	address := "https://a.example.com:" + port + "/"
	wantBody(t, get(t, s, sdk.HTTPRequest{URL: address}), "ok")
	s.Close() // its idle connections
	wantFailure(t, get(t, s, sdk.HTTPRequest{URL: address}), sdk.CodeDenied, "127.0.0.2, a loopback address")
}

func TestHTTPDialsTheAllowedOfSeveralAddresses(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port := l.serve(say("ok"), "a.example.com")
	l.names.set("a.example.com", []string{"127.0.0.9", "127.0.0.1"})
	s := l.services(service.Grants{Hosts: []string{"a.example.com:" + port, "127.0.0.1"}})
	wantBody(t, get(t, s, sdk.HTTPRequest{URL: "https://a.example.com:" + port + "/"}), "ok")
}

func TestHTTPRequestsThatAreWrong(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port := l.servePlain(say("ok"))
	s := l.services(service.Grants{Hosts: []string{"http://localhost:" + port}})
	u := "http://localhost:" + port
	header := func(name, value string) sdk.HTTPRequest {
		return sdk.HTTPRequest{URL: u, Header: []sdk.Header{{Name: name, Value: value}}}
	}
	for _, row := range []struct {
		request sdk.HTTPRequest
		code    sdk.ErrorCode
		want    string
	}{
		{sdk.HTTPRequest{Method: "CONNECT", URL: u}, sdk.CodeInvalid, "method"},
		{sdk.HTTPRequest{Method: "TRACE", URL: u}, sdk.CodeInvalid, "method"},
		{sdk.HTTPRequest{Method: "OPTIONS", URL: u}, sdk.CodeInvalid, "method"},
		{sdk.HTTPRequest{Method: "get", URL: u}, sdk.CodeInvalid, "method"},
		{sdk.HTTPRequest{URL: "file:///etc/passwd"}, sdk.CodeInvalid, "scheme"},
		{sdk.HTTPRequest{URL: u + "/" + strings.Repeat("x", 17<<10)}, sdk.CodeLimit, "URL"},
		{sdk.HTTPRequest{URL: u, MaxBytes: 5 << 20}, sdk.CodeLimit, "maxBytes"},
		{sdk.HTTPRequest{URL: u, MaxBytes: -1}, sdk.CodeLimit, "maxBytes"},
		{sdk.HTTPRequest{URL: u, TimeoutMillis: -1}, sdk.CodeInvalid, "timeoutMillis"},
		{sdk.HTTPRequest{URL: u, Redirect: "all"}, sdk.CodeInvalid, "policy"},
		{header("Host", "evil.org"), sdk.CodeDenied, "Host"},
		{header("host", "evil.org"), sdk.CodeDenied, "Host"},
		{header("Proxy-Authorization", "x"), sdk.CodeDenied, "Proxy-Authorization"},
		{header("Connection", "close"), sdk.CodeDenied, "Connection"},
		{header("Transfer-Encoding", "chunked"), sdk.CodeDenied, "Transfer-Encoding"},
		{header("Te", "trailers"), sdk.CodeDenied, "Te"},
		{header("Upgrade", "h2c"), sdk.CodeDenied, "Upgrade"},
		{header("Content-Length", "x"), sdk.CodeDenied, "Content-Length"},
		{header("X-Forwarded-For", "127.0.0.1"), sdk.CodeDenied, "X-Forwarded-For"},
		{header("Expect", "100-continue"), sdk.CodeDenied, "Expect"},
		{header("X\r\nHost", "evil.org"), sdk.CodeInvalid, "name of a header"},
		{header("", "x"), sdk.CodeInvalid, "name of a header"},
		{header("Host ", "x"), sdk.CodeInvalid, "name of a header"},
		{header("X-A", "a\r\nHost: evil.org"), sdk.CodeInvalid, "line break"},
		{header("X-A", strings.Repeat("x", 65<<10)), sdk.CodeLimit, "header"},
	} {
		wantFailure(t, get(t, s, row.request), row.code, row.want)
	}
	wantBody(t, get(t, s, header("Host", "LOCALHOST:"+port)), "ok")
	if _, err := s.SDK().HTTP.HTTP(t.Context(), make([]sdk.HTTPRequest, 257)); err == nil {
		t.Error("257 requests at once were taken")
	} else {
		wantError(t, err, sdk.CodeLimit, "257")
	}
}

func TestHTTPBounds(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port := l.servePlain(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/huge-header":
			w.Header().Set("X-Huge", strings.Repeat("x", 80<<10))
		case "/slow":
			<-r.Context().Done()
		case "/slow-body":
			w.Write([]byte("a"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			n := 0
			for _, c := range r.URL.Path[1:] {
				n = 10*n + int(c-'0')
			}
			w.Write(make([]byte, n))
		}
	})
	s := l.services(service.Grants{Hosts: []string{"http://localhost:" + port}})
	u := "http://localhost:" + port
	if r := get(t, s, sdk.HTTPRequest{URL: u + "/4194304"}); r.Error != nil || len(r.Body) != 4<<20 {
		t.Errorf("an answer of 4 MiB: %v, %d bytes", r.Error, len(r.Body))
	}
	wantFailure(t, get(t, s, sdk.HTTPRequest{URL: u + "/4194305"}), sdk.CodeLimit, "more than 4194304 bytes")
	if r := get(t, s, sdk.HTTPRequest{URL: u + "/10", MaxBytes: 10}); r.Error != nil || len(r.Body) != 10 {
		t.Errorf("an answer of its bound: %v, %d bytes", r.Error, len(r.Body))
	}
	wantFailure(t, get(t, s, sdk.HTTPRequest{URL: u + "/11", MaxBytes: 10}), sdk.CodeLimit, "more than 10 bytes")
	wantFailure(t, get(t, s, sdk.HTTPRequest{URL: u + "/huge-header"}), sdk.CodeUnavailable, "talk to localhost")
	for _, path := range []string{"/slow", "/slow-body"} {
		r := get(t, s, sdk.HTTPRequest{URL: u + path, TimeoutMillis: 60})
		wantFailure(t, r, sdk.CodeUnavailable, "no answer in the time")
		if !r.Error.Retryable {
			t.Errorf("%s: cannot be retried", path)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	_, err := s.SDK().HTTP.HTTP(ctx, []sdk.HTTPRequest{{Method: "GET", URL: u + "/slow"}})
	wantError(t, err, sdk.CodeTimeout)

	batch := make([]sdk.HTTPRequest, 4)
	for i := range batch {
		batch[i] = sdk.HTTPRequest{Method: "GET", URL: u + "/4000000"}
	}
	responses, err := s.SDK().HTTP.HTTP(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	total, failed := 0, 0
	for _, r := range responses {
		if total += len(r.Body); r.Error != nil {
			wantFailure(t, r, sdk.CodeLimit, "fewer requests at once")
			failed++
		}
	}
	if total > 11<<20 || failed == 0 {
		t.Errorf("a batch has %d bytes, and %d failed", total, failed)
	}
}

func TestHTTPRunsRequestsAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var now, most, connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		now.Add(-1)
		io.WriteString(w, r.URL.Path)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	port := portOf(t, server.URL)
	s := l.services(service.Grants{Hosts: []string{"http://localhost:" + port}}, func(o *service.Options) { o.Requests = 8 })
	batch := make([]sdk.HTTPRequest, 256)
	for i := range batch {
		batch[i] = sdk.HTTPRequest{Method: "GET", URL: "http://localhost:" + port + "/" + string(rune('a'+i%26))}
	}
	var calls sync.WaitGroup
	for range 2 { // two instances of a plugin share the bound
		calls.Go(func() {
			responses, err := s.SDK().HTTP.HTTP(t.Context(), batch)
			if err != nil {
				t.Error(err)
				return
			}
			for i, r := range responses {
				if want := "/" + string(rune('a'+i%26)); string(r.Body) != want {
					t.Errorf("answer %d is %q (%v), want %q", i, r.Body, r.Error, want)
				}
			}
		})
	}
	calls.Wait()
	if n := most.Load(); n > 8 || n < 2 {
		t.Errorf("%d requests ran at once, want at most 8", n)
	}
	if n := connections.Load(); n > 16 {
		t.Errorf("%d connections for 512 requests: they are not used again", n)
	}
}

func TestHTTP2AndTLSSettings(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	proto := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }
	port := l.serve(proto, "a.example.com")
	l.names.set("a.example.com", []string{"127.0.0.1"})
	l.names.set("wrong.example.com", []string{"127.0.0.1"})
	hosts := []string{"a.example.com:" + port, "wrong.example.com:" + port, "127.0.0.1"}
	s := l.services(service.Grants{Hosts: hosts})
	wantBody(t, get(t, s, sdk.HTTPRequest{URL: "https://a.example.com:" + port}), "HTTP/2.0")
	wantFailure(t, get(t, s, sdk.HTTPRequest{URL: "https://wrong.example.com:" + port}), sdk.CodeUnavailable, "verify the certificate of wrong.example.com")

	stranger := l.services(service.Grants{Hosts: hosts}, func(o *service.Options) {
		o.RootCAs = newAuthority(t).pool
		o.TLS = map[string]*tls.Config{"*.example.com": {InsecureSkipVerify: true}, "a.example.com:" + port: {RootCAs: o.RootCAs}}
	})
	wantFailure(t, get(t, stranger, sdk.HTTPRequest{URL: "https://a.example.com:" + port}), sdk.CodeUnavailable, "signed by an unknown authority")
	wantBody(t, get(t, stranger, sdk.HTTPRequest{URL: "https://wrong.example.com:" + port}), "HTTP/2.0")
}

func TestHTTPFailuresAreDescribed(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := portOf(t, "http://"+listener.Addr().String())
	listener.Close()
	plain := l.servePlain(say("ok"))
	s := l.services(service.Grants{Hosts: []string{"http://localhost:" + closed, "none.example.com", "localhost:" + plain}})
	wantFailure(t, get(t, s, sdk.HTTPRequest{URL: "http://localhost:" + closed + "/?signature=deadbeef"}), sdk.CodeUnavailable,
		"connect to localhost:"+closed+": connection refused")
	wantFailure(t, get(t, s, sdk.HTTPRequest{URL: "https://none.example.com/"}), sdk.CodeUnavailable, "look up none.example.com: no such host")
	wantFailure(t, get(t, s, sdk.HTTPRequest{URL: "https://localhost:" + plain}), sdk.CodeUnavailable, "speaks plain HTTP")
}

// TestHTTPThroughProxy runs a proxy that tunnels, and sees that names are still checked and addresses are the proxy's.
func TestHTTPThroughProxy(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port := l.serve(say("ok"), "inner.example.com", "10.1.2.3")
	var asked atomic.Pointer[string]
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(&r.Host)
		to, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Error(err)
			return
		}
		w.WriteHeader(http.StatusOK)
		from, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		go func() { io.Copy(to, buffered); to.Close() }()
		io.Copy(from, to)
		from.Close()
	}))
	defer proxy.Close()
	through, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := l.services(service.Grants{Hosts: []string{"inner.example.com:" + port}}, func(o *service.Options) {
		o.Proxy = func(*url.URL) (*url.URL, error) { return through, nil }
	})
	wantBody(t, get(t, s, sdk.HTTPRequest{URL: "https://inner.example.com:" + port}), "ok")
	if got := *asked.Load(); got != "inner.example.com:"+port {
		t.Errorf("the proxy was asked for %s", got)
	}
	wantFailure(t, get(t, s, sdk.HTTPRequest{URL: "https://10.1.2.3:" + port}), sdk.CodeDenied, `add "10.1.2.3:`+port+`"`)
	wantFailure(t, get(t, s, sdk.HTTPRequest{URL: "https://other.example.com"}), sdk.CodeDenied)
	wantFailure(t, get(t, s, sdk.HTTPRequest{URL: proxy.URL}), sdk.CodeDenied)
}

func TestSendStreams(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port := l.servePlain(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 6<<20 {
			t.Errorf("length %d", r.ContentLength)
		}
		io.Copy(w, r.Body)
	})
	s := l.services(service.Grants{Hosts: []string{"http://localhost:" + port}})
	content := bytes.Repeat([]byte("0123456789abcdef"), 6<<20/16)
	req, err := s.NewRequest(t.Context(), "PUT", "http://localhost:"+port+"/x", []sdk.Header{{Name: "Content-Length", Value: "6291456"}}, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Send(t.Context(), req, sdk.RedirectNone)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes back (%v), want %d", len(got), err, len(content))
	}
}

func TestHTTPKeepsNoCookies(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port := l.servePlain(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		io.WriteString(w, r.Header.Get("Cookie"))
	})
	s := l.services(service.Grants{Hosts: []string{"http://localhost:" + port}})
	for range 2 {
		r := get(t, s, sdk.HTTPRequest{URL: "http://localhost:" + port})
		wantBody(t, r, "")
		if diff := cmp.Diff("a=b", r.Get("Set-Cookie")); diff != "" {
			t.Error(diff)
		}
	}
}
