package service_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

const theSecret = `s3cr"t/+value&<x>`

// secretLab has a server that says back what it was sent, in many forms, and a secret that may go there.
func secretLab(t *testing.T) (*lab, *service.Services, string) {
	t.Helper()
	l := newLab(t)
	l.variables["TOKEN"] = theSecret + "\n"
	port := l.servePlain(func(w http.ResponseWriter, r *http.Request) {
		sent := r.Header.Get("X-Token")
		if _, password, ok := r.BasicAuth(); ok {
			sent = password
		}
		encoded, _ := json.Marshal(sent)
		echoes := []string{
			sent, url.QueryEscape(sent), url.PathEscape(sent), string(encoded), hex.EncodeToString([]byte(sent)), fmt.Sprintf("%X", sent),
			base64.StdEncoding.EncodeToString([]byte(sent)), base64.URLEncoding.EncodeToString([]byte("a" + sent + "b")),
			base64.RawStdEncoding.EncodeToString([]byte("ab" + sent)), r.Header.Get("Authorization"),
		}
		w.Header()["X-Echo"] = echoes
		io.WriteString(w, strings.Join(echoes, "\n"))
	})
	s := l.services(service.Grants{
		Hosts: []string{"http://localhost:" + port, "http://127.0.0.1:" + port},
		Secrets: map[string]service.Secret{
			"tok": fromEnv("TOKEN", "header", "http://localhost:"+port), "other": fromEnv("TOKEN", "hmac-sha256"), "none": fromEnv("NONE", "header"),
		},
	})
	return l, s, "localhost:" + port
}

// spellings are ways to write a secret, alone and as part of something.
func spellings(secret string) []string {
	encoded, _ := json.Marshal(secret)
	b := base64.StdEncoding.EncodeToString
	return []string{
		secret, url.QueryEscape(secret), url.PathEscape(secret), string(encoded), hex.EncodeToString([]byte(secret)),
		fmt.Sprintf("%X", secret), b([]byte(secret)), b([]byte("a" + secret + "b")), b([]byte("ab" + secret)), b([]byte("me:" + secret)),
	}
}

// forms are pieces of the spellings that must not be seen.
func forms(secret string) []string {
	all := spellings(secret)
	for i, s := range all {
		if i == 3 {
			s = strings.Trim(s, `"`)
		}
		if i >= 6 {
			s = s[4:18] // what is the same whatever stands before and after
		}
		all[i] = s
	}
	return all
}

func wantNoSecret(t *testing.T, what, text string) {
	t.Helper()
	for _, form := range forms(theSecret) {
		if strings.Contains(text, form) {
			t.Errorf("%s shows %q: %s", what, form, text)
		}
	}
}

func TestSecretIsSentAndNotSeen(t *testing.T) {
	t.Parallel()
	l, s, host := secretLab(t)
	for name, request := range map[string]sdk.HTTPRequest{
		"header": {URL: "http://" + host, Header: headers("X-Token", "{{secret:tok}}")},
		"part":   {URL: "http://" + host, Header: headers("X-Token", "Bearer {{secret:tok}}, {{secret:tok}}")},
		"basic":  {URL: "http://me:{{secret:tok}}@" + host},
		"user":   {URL: "http://{{secret:tok}}:x@" + host},
		"escape": {URL: "http://me:%7B%7Bsecret:tok%7D%7D@" + host},
	} {
		r := get(t, s, request)
		if r.Error != nil {
			t.Fatalf("%s: %v", name, r.Error)
		}
		if !strings.Contains(string(r.Body), "***") {
			t.Errorf("%s: nothing was redacted, so nothing was sent: %s", name, r.Body)
		}
		wantNoSecret(t, name, fmt.Sprintf("%+v %s", r, r.Body))
		for _, level := range []sdk.Level{sdk.LevelDebug, sdk.LevelInfo, sdk.LevelWarning, sdk.LevelError, "other"} {
			for _, form := range spellings(theSecret) {
				s.Log(level, "the secret is "+form+"!")
			}
		}
	}
	wantNoSecret(t, "the log", l.log())
	if !strings.Contains(l.log(), "error: the secret is ***!") {
		t.Errorf("the log is %s", l.log())
	}
}

// TestSecretIsInNoError sees every way to fail with a secret at hand.
func TestSecretIsInNoError(t *testing.T) {
	t.Parallel()
	l, s, host := secretLab(t)
	with := headers("X-Token", "{{secret:tok}}")
	if r := get(t, s, sdk.HTTPRequest{URL: "http://" + host, Header: with}); r.Error != nil {
		t.Fatal(r.Error) // the secret is known from here on
	}
	other := "127.0.0.1:" + strings.TrimPrefix(host, "localhost:")
	for name, row := range map[string]struct {
		request sdk.HTTPRequest
		code    sdk.ErrorCode
		want    string
	}{
		"other host":   {sdk.HTTPRequest{URL: "http://" + other, Header: with}, sdk.CodeDenied, `not granted for "` + other + `"`},
		"basic":        {sdk.HTTPRequest{URL: "http://me:{{secret:tok}}@" + other}, sdk.CodeDenied, "not granted for"},
		"other use":    {sdk.HTTPRequest{URL: "http://" + host, Header: headers("X-Token", "{{secret:other}}")}, sdk.CodeDenied, `use "hmac-sha256", not "header"`},
		"unknown":      {sdk.HTTPRequest{URL: "http://" + host, Header: headers("X-Token", "{{secret:x}}")}, sdk.CodeDenied, "plugins.p.allow.secrets.x"},
		"not set":      {sdk.HTTPRequest{URL: "http://" + host, Header: headers("X-Token", "{{secret:none}}")}, sdk.CodeUnavailable, "NONE is not set"},
		"malformed":    {sdk.HTTPRequest{URL: "http://" + host, Header: headers("X-Token", "{{secret:tok}")}, sdk.CodeInvalid, "{{secret:NAME}}"},
		"in the host":  {sdk.HTTPRequest{URL: "http://{{secret:tok}}/"}, sdk.CodeInvalid, "URL"},
		"guess in URL": {sdk.HTTPRequest{URL: "http://evil.example.com/" + url.PathEscape(theSecret)}, sdk.CodeDenied, ""},
		"guess name":   {sdk.HTTPRequest{URL: "gopher://evil.example.com/" + theSecret}, sdk.CodeInvalid, ""},
		"both":         {sdk.HTTPRequest{URL: "http://me:{{secret:tok}}@" + host, Header: headers("Authorization", "x")}, sdk.CodeInvalid, "both"},
		"too long":     {sdk.HTTPRequest{URL: "http://" + host, Header: with, MaxBytes: 3}, sdk.CodeLimit, "3 bytes"},
	} {
		r := get(t, s, row.request)
		wantFailure(t, r, row.code, row.want)
		wantNoSecret(t, name, fmt.Sprintf("%v %+v", r.Error, r.Error))
		// The same through the envelope.
		q := &abi.HTTPRequests{Requests: []sdk.HTTPRequest{row.request}}
		envelope := s.Do(t.Context(), abi.HostHTTP, abi.AppendHTTPRequests(nil, q))
		wantNoSecret(t, name, string(envelope))
		s.Log(sdk.LevelError, string(envelope))
	}
	wantNoSecret(t, "the log", l.log())
}

// TestSecretIsNotInAnswersOfSend looks at what the transfer engine gets.
func TestSecretIsNotInAnswersOfSend(t *testing.T) {
	t.Parallel()
	_, s, host := secretLab(t)
	req, err := s.NewRequest(t.Context(), "GET", "http://me:{{secret:tok}}@"+host+"/", headers("X-Token", "{{secret:tok}}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Send(t.Context(), req, sdk.RedirectNone)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	wantNoSecret(t, "the answer", fmt.Sprintf("%v %v %v", resp.Header, resp.Request.Header, resp.Request.URL))
	if len(resp.Header["X-Echo"]) == 0 || !strings.Contains(req.Header.Get("X-Token"), "{{secret:tok}}") {
		t.Errorf("the answer's header is %v, the request's now %v", resp.Header, req.Header)
	}
}

func TestSecretWithLineBreakIsNotSent(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.variables["TOKEN"] = "first-line-of-it\r\nX-Injected: 1"
	port := l.servePlain(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("got %v", r.Header) })
	s := l.services(service.Grants{
		Hosts: []string{"http://localhost:" + port}, Secrets: map[string]service.Secret{"tok": fromEnv("TOKEN", "header")},
	})
	r := get(t, s, sdk.HTTPRequest{URL: "http://localhost:" + port, Header: headers("X-Token", "{{secret:tok}}")})
	wantFailure(t, r, sdk.CodeInvalid, "line break")
	s.Log(sdk.LevelInfo, "saw first-line-of-it")
	if strings.Contains(l.log()+r.Error.Message, "first-line-of-it") {
		t.Errorf("a line of the secret is in %s, %v", l.log(), r.Error)
	}
}

// TestSecretIsNotFilledTwice has a secret that looks like a reference to another.
func TestSecretIsNotFilledTwice(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.variables["A"], l.variables["B"] = "{{secret:b}}", "the-other-secret"
	got := make(chan string, 1)
	port := l.servePlain(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("X-Token") })
	s := l.services(service.Grants{
		Hosts:   []string{"http://localhost:" + port},
		Secrets: map[string]service.Secret{"a": fromEnv("A", "header"), "b": fromEnv("B", "header")},
	})
	if r := get(t, s, sdk.HTTPRequest{URL: "http://localhost:" + port, Header: headers("X-Token", "{{secret:a}}")}); r.Error != nil {
		t.Fatal(r.Error)
	}
	if text := <-got; text != "{{secret:b}}" {
		t.Errorf("sent %q", text)
	}
}

func TestSecretFiles(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	dir := t.TempDir()
	name := filepath.Join(dir, "token")
	write := func(text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first-token\r\n")
	source := func(name string) service.Secret {
		return service.Secret{SecretSource: service.SecretSource{File: name}, Use: "reply"}
	}
	s := l.services(service.Grants{Secrets: map[string]service.Secret{
		"tok": source(name), "missing": source(filepath.Join(dir, "missing")), "dir": source(dir), "null": source("/dev/null"),
	}}, func(o *service.Options) { o.Kind = sdk.KindCredential })
	fill := func() string {
		t.Helper()
		text, err := s.FillReply("{{secret:tok}}", "registry.example.com")
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if got := fill(); got != "first-token" {
		t.Errorf("the secret is %q", got)
	}
	// A one-time password is renewed in its file: each reply has what is there now.
	write("second-token")
	if got := fill(); got != "second-token" {
		t.Errorf("the secret is %q", got)
	}
	if got := s.Redactor().Redact("first-token second-token"); got != "*** ***" {
		t.Errorf("redacted: %q", got)
	}
	for name, want := range map[string]string{"missing": "no such file", "dir": "not a regular file", "null": "not a regular file"} {
		_, err := s.FillReply("{{secret:"+name+"}}", "registry.example.com")
		wantError(t, err, sdk.CodeUnavailable, want, `secret "`+name+`"`)
	}
	write(strings.Repeat("x", 17<<10))
	_, err := s.FillReply("{{secret:tok}}", "registry.example.com")
	wantError(t, err, sdk.CodeUnavailable, "a secret may have 16384")
}

func TestFillReply(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.variables["TOKEN"], l.variables["OTHER"] = "the-token", "the-other"
	s := l.services(service.Grants{
		Hosts: []string{"gitlab.example.com"},
		Secrets: map[string]service.Secret{
			"any": fromEnv("TOKEN", "reply"), "bound": fromEnv("OTHER", "reply", "registry.example.com", "*.example.org:5000"), "head": fromEnv("TOKEN", "header"),
		},
	}, func(o *service.Options) { o.Kind = sdk.KindCredential })
	for _, row := range []struct{ text, registry, want string }{
		{"plain", "whatever is here", "plain"},
		{"{{secret:any}}", "docker.io", "the-token"},
		{"a {{secret:any}} b", "127.0.0.1:5000", "a the-token b"},
		{"{{secret:bound}}", "registry.example.com", "the-other"},
		{"{{secret:bound}}", "Registry.Example.com:443", "the-other"},
		{"{{secret:bound}}", "a.example.org:5000", "the-other"},
	} {
		got, err := s.FillReply(row.text, row.registry)
		if err != nil || got != row.want {
			t.Errorf("%s for %s: %q, %v; want %q", row.text, row.registry, got, err, row.want)
		}
	}
	for _, row := range []struct {
		text, registry string
		code           sdk.ErrorCode
		want           string
	}{
		{"{{secret:bound}}", "registry.example.com:5000", sdk.CodeDenied, `add "registry.example.com:5000" to plugins.p.allow.secrets.bound.hosts`},
		{"{{secret:bound}}", "evil.org", sdk.CodeDenied, "evil.org"},
		{"{{secret:bound}}", "registry.example.com.evil.org", sdk.CodeDenied, "evil.org"},
		{"{{secret:head}}", "docker.io", sdk.CodeDenied, `use "header", not "reply"`},
		{"{{secret:none}}", "docker.io", sdk.CodeDenied, "none"},
		{"{{secret:", "docker.io", sdk.CodeInvalid, "NAME"},
		{"{{secret:any}}", "a/b", sdk.CodeInvalid, "a/b"},
	} {
		_, err := s.FillReply(row.text, row.registry)
		wantError(t, err, row.code, row.want)
	}
}
