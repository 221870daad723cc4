package service_test

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
)

func redirectTo(status int, location string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(status)
	}
}

// TestRedirectSSRF has a granted host send the host to places that are not.
func TestRedirectSSRF(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var reached atomic.Int64
	inner := l.servePlain(func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	l.names.set("a.example.com", []string{"127.0.0.1"})
	l.names.set("inner.example.com", []string{"127.0.0.3"})
	for _, location := range []string{
		"http://127.0.0.1:" + inner + "/", "http://localhost:" + inner + "/", "http://[::ffff:127.0.0.1]:" + inner + "/",
		"http://0x7f.1:" + inner + "/", "http://2130706433:" + inner + "/", "//localhost:" + inner + "/",
		"http://inner.example.com:" + inner + "/", // granted by name, not by its address
		"http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "gopher://127.0.0.1:" + inner + "/",
		"http://user:pw@inner.example.com:" + inner + "/", "http://a.example.com@127.0.0.1:" + inner + "/", "http://[fe80::1%25lo]/", "://",
	} {
		port := l.serve(redirectTo(302, location), "a.example.com")
		s := l.services(service.Grants{Hosts: []string{"a.example.com:" + port, "127.0.0.1", "http://inner.example.com:" + inner}})
		r := get(t, s, sdk.HTTPRequest{URL: "https://a.example.com:" + port, Redirect: sdk.RedirectGranted})
		if r.Error == nil {
			t.Errorf("%s: status %d", location, r.Status)
			continue
		}
		if r.Error.Code != sdk.CodeDenied && r.Error.Code != sdk.CodeInvalid {
			t.Errorf("%s: code %s: %v", location, r.Error.Code, r.Error)
		}
	}
	if reached.Load() != 0 {
		t.Error("a redirect led to the server")
	}
}

func TestRedirectPolicies(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	other := l.servePlain(say("other"))
	port := l.servePlain(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/end", http.StatusFound)
		case "/other":
			http.Redirect(w, r, "http://localhost:"+other+"/", http.StatusTemporaryRedirect)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/not-modified":
			w.Header().Set("Location", "/end")
			w.WriteHeader(http.StatusNotModified)
		default:
			io.WriteString(w, "end")
		}
	})
	u := "http://localhost:" + port
	s := l.services(service.Grants{Hosts: []string{u, "http://localhost:" + other}})
	ask := func(path string, policy sdk.RedirectPolicy) sdk.HTTPResponse {
		return get(t, s, sdk.HTTPRequest{URL: u + path, Redirect: policy})
	}
	wantFailure(t, ask("/same", sdk.RedirectNone), sdk.CodeInvalid, "follows no redirects")
	wantBody(t, ask("/same", sdk.RedirectSameHost), "end")
	wantBody(t, ask("/same", sdk.RedirectGranted), "end")
	wantFailure(t, ask("/other", sdk.RedirectNone), sdk.CodeInvalid, "follows no redirects")
	wantFailure(t, ask("/other", sdk.RedirectSameHost), sdk.CodeInvalid, "another host", other)
	wantBody(t, ask("/other", sdk.RedirectGranted), "other")
	wantFailure(t, ask("/loop", sdk.RedirectGranted), sdk.CodeLimit, "more than 10 redirects")
	if r := ask("/not-modified", sdk.RedirectNone); r.Error != nil || r.Status != 304 {
		t.Errorf("304 is %d, %v", r.Status, r.Error)
	}
	narrow := l.services(service.Grants{Hosts: []string{u}})
	wantFailure(t, get(t, narrow, sdk.HTTPRequest{URL: u + "/other", Redirect: sdk.RedirectGranted}), sdk.CodeDenied, `add "http://localhost:`+other+`"`)
}

// TestRedirectHeaders shows what another host sees of a request that is redirected to it, and what the same host sees.
func TestRedirectHeaders(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.variables["TOKEN"] = "the-secret-token"
	seen := make(chan http.Header, 1)
	record := func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header.Clone() }
	other := l.servePlain(record)
	port := l.servePlain(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/other":
			http.Redirect(w, r, "http://localhost:"+other+"/", http.StatusFound)
		case "/same":
			http.Redirect(w, r, "/end", http.StatusFound)
		default:
			record(w, r)
		}
	})
	u := "localhost:" + port
	s := l.services(service.Grants{
		Hosts:   []string{"http://" + u, "http://localhost:" + other},
		Secrets: map[string]service.Secret{"tok": {SecretSource: service.SecretSource{Env: "TOKEN"}, Use: "header"}},
	})
	header := []sdk.Header{
		{Name: "Private-Token", Value: "{{secret:tok}}"},
		{Name: "X-Amz-Security-Token", Value: "x"},
		{Name: "Cookie", Value: "a=b"},
		{Name: "X-Mine", Value: "1"},
		{Name: "Accept", Value: "text/plain"},
		{Name: "Accept-Language", Value: "{{secret:tok}}"},
		{Name: "Range", Value: "bytes=0-1"},
	}
	for _, row := range []struct {
		path string
		want http.Header
	}{
		{"/same", http.Header{
			"Private-Token": {"the-secret-token"}, "X-Amz-Security-Token": {"x"}, "Cookie": {"a=b"}, "X-Mine": {"1"}, "Accept": {"text/plain"},
			"Accept-Language": {"the-secret-token"}, "Range": {"bytes=0-1"}, "User-Agent": {"trowel"}, "Authorization": {"Basic bWU6dGhlLXNlY3JldC10b2tlbg=="},
		}},
		{"/other", http.Header{"Accept": {"text/plain"}, "Range": {"bytes=0-1"}, "User-Agent": {"trowel"}}},
	} {
		r := get(t, s, sdk.HTTPRequest{URL: "http://me:{{secret:tok}}@" + u + row.path, Header: header, Redirect: sdk.RedirectGranted})
		if r.Error != nil {
			t.Fatal(r.Error)
		}
		if diff := cmp.Diff(row.want, <-seen); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.path, diff)
		}
	}
}

func TestRedirectMethods(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port := l.servePlain(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/301", "/302", "/303", "/307", "/308":
			w.Header().Set("Location", "/end")
			w.WriteHeader(300 + int(r.URL.Path[3]-'0'))
		default:
			io.WriteString(w, r.Method+" "+string(body)+" "+r.Header.Get("Content-Type"))
		}
	})
	u := "http://localhost:" + port
	s := l.services(service.Grants{Hosts: []string{u}})
	for _, row := range []struct{ method, path, want string }{
		{"POST", "/301", "GET  "},
		{"POST", "/302", "GET  "},
		{"POST", "/303", "GET  "},
		{"POST", "/307", "POST x text/x"},
		{"POST", "/308", "POST x text/x"},
		{"PUT", "/301", "PUT x text/x"},
		{"PUT", "/302", "PUT x text/x"},
		{"PUT", "/303", "GET  "},
		{"PUT", "/307", "PUT x text/x"},
		{"DELETE", "/302", "DELETE x text/x"},
	} {
		r := get(t, s, sdk.HTTPRequest{
			Method: row.method, URL: u + row.path, Body: []byte("x"), Header: []sdk.Header{{Name: "Content-Type", Value: "text/x"}},
			Redirect: sdk.RedirectSameHost,
		})
		if r.Error != nil || string(r.Body) != row.want {
			t.Errorf("%s %s: %q (%v), want %q", row.method, row.path, r.Body, r.Error, row.want)
		}
	}
	req, err := s.NewRequest(t.Context(), "PUT", u+"/307", nil, io.MultiReader())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.Send(t.Context(), req, sdk.RedirectSameHost); err == nil {
		t.Fatal("a body that cannot be read twice was sent twice")
	}
	wantError(t, err, sdk.CodeUnavailable, "cannot be sent again")
}
