package registry

import (
	"context"
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
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test",scope=%q`, s.URL, scope))
	refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	return true
}

func covers(have []string, want string) bool {
	for _, scope := range have {
		if scope == want || scope == want+",push" {
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
