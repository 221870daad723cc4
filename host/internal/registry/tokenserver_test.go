package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// tokenServer hands out tokens that expire, and guards a test registry with them.
type tokenServer struct {
	*httptest.Server
	clock *fakeClock
	life  time.Duration

	mu        sync.Mutex
	passwords map[string]string // by user; "" is the identity token's key
	issued    map[string]issuedToken
	asked     []string // the scopes, user and protocol of each request
	extra     string   // a member to add to the answer
	denied    string   // an action that nobody is granted: who asks for it gets no token at all
}

type issuedToken struct {
	expires time.Time
	scopes  []string
}

func newTokenServer(t *testing.T, clock *fakeClock, life time.Duration) *tokenServer {
	t.Helper()
	s := &tokenServer{clock: clock, life: life, passwords: map[string]string{}, issued: map[string]issuedToken{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user, password, hasPassword := r.BasicAuth()
	var scopes []string
	var granted bool
	if r.Method == http.MethodPost {
		_ = r.ParseForm()
		scopes = strings.Fields(r.PostForm.Get("scope"))
		granted = r.PostForm.Get("grant_type") == "refresh_token" && r.PostForm.Get("refresh_token") == s.passwords[""]
		user = "identity"
	} else {
		scopes = r.URL.Query()["scope"]
		granted = !hasPassword && s.passwords["anonymous"] == "yes" || hasPassword && s.passwords[user] == password
	}
	if s.denied != "" && strings.Contains(strings.Join(scopes, " "), s.denied) {
		granted = false
	}
	s.asked = append(s.asked, r.Method+" "+user+" "+r.FormValue("service")+" "+strings.Join(scopes, " "))
	if !granted {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"details":"incorrect password %s"}`, password)
		return
	}
	token := fmt.Sprintf("token-%d", len(s.issued))
	s.issued[token] = issuedToken{expires: s.clock.now().Add(s.life), scopes: scopes}
	fmt.Fprintf(w, `{"token":%q,"expires_in":%d%s}`, token, int(s.life/time.Second), s.extra)
}

func (s *tokenServer) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

func (s *tokenServer) setPassword(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passwords[user] = password
}

// guard lets a request to a registry pass if it carries a token that is still good.
func (s *tokenServer) guard(w http.ResponseWriter, r *http.Request) (handled bool) {
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	repository, _, _ := strings.Cut(strings.Replace(path, "/manifests/", "/blobs/", 1), "/blobs/")
	scope := "repository:" + repository + ":pull"
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		scope += ",push"
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	issued, ok := s.issued[token]
	good := ok && s.clock.now().Before(issued.expires) && covers(issued.scopes, scope)
	s.mu.Unlock()
	if good {
		return false
	}
	challenge := fmt.Sprintf(`Bearer realm="%s/token",service="test",scope=%q`, s.URL, scope)
	if ok && !s.clock.now().Before(issued.expires) {
		challenge += `,error="invalid_token"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	return true
}

func covers(have []string, want string) bool {
	for _, scope := range have {
		if strings.HasPrefix(scope+",", want+",") {
			return true
		}
	}
	return false
}

// scriptedProvider answers with one credential after the other.
type scriptedProvider struct {
	mu       sync.Mutex
	answers  []sdk.Credential
	err      error
	requests []sdk.CredentialRequest
}

func (p *scriptedProvider) Credential(_ context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, request)
	if p.err != nil {
		return sdk.Credential{}, p.err
	}
	answer := p.answers[0]
	if len(p.answers) > 1 {
		p.answers = p.answers[1:]
	}
	return answer, nil
}

func (p *scriptedProvider) reasons() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, r := range p.requests {
		all = append(all, string(r.Reason)+" "+r.Repository+" "+strings.Join(r.Actions, ","))
	}
	return all
}

func basic(user, password string) sdk.Credential {
	return sdk.Credential{Kind: sdk.KindBasic, Username: user, Secret: password}
}

func basicGuard(password func() string) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if _, got, _ := r.BasicAuth(); got == password() {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "you sent "+r.Header.Get("Authorization"))
		return true
	}
}

func TestRealmMustBeSafe(t *testing.T) {
	t.Parallel()
	for realm, want := range map[string]string{
		"http://auth.example.com/token":        "would get the credential unencrypted",
		"ftp://auth.example.com/token":         "names no usable token server",
		"https://me:secret@auth.example.com/t": "names no usable token server",
		"token":                                "names no usable token server",
	} {
		t.Run(realm, func(t *testing.T) {
			t.Parallel()
			server := newTestRegistry(t)
			tls := httptest.NewTLSServer(server)
			t.Cleanup(tls.Close)
			server.intercept(func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q", realm))
				w.WriteHeader(http.StatusUnauthorized)
				return true
			})
			host := strings.TrimPrefix(tls.URL, "https://")
			client := newTestClient(t, Options{Registries: map[string]Settings{host: {TLS: TLSSkip}}})
			err := client.CheckPush(t.Context(), Repository{Registry: host, Path: "app"})
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %v, want %q", err, want)
			}
		})
	}
}

func TestTokenServerFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		serve http.HandlerFunc
		want  string
	}{
		"endless":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte(" "), 3<<20)) }, "answered with more than"},
		"not JSON": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`secret-token`)) }, "something other than JSON"},
		"no token": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{}`)) }, "without a token"},
		"no page":  {http.NotFound, "answered 404 Not Found"},
		"injected": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"token":"a\r\nX: y"}`)) }, "without a token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokens := httptest.NewServer(test.serve)
			t.Cleanup(tokens.Close)
			server := newTestRegistry(t)
			server.intercept(func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q", tokens.URL))
				w.WriteHeader(http.StatusUnauthorized)
				return true
			})
			_, err := newTestClient(t, Options{}).Resolve(t.Context(), server.repository("app").Tagged("1"))
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret-token") {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if errors.Is(err, ErrNotFound) {
				t.Errorf("error %v passes for a missing image", err)
			}
		})
	}
}
