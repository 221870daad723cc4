package git

import (
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/trowel-build/trowel/host/internal/effect"
)

// wrapper is a git that notes its arguments and variables.
const wrapper = `#!/bin/sh
{ tr '\0' '\n' < /proc/$$/cmdline; tr '\0' '\n' < /proc/$$/environ; } >> @LOG@
PATH=@PATH@ exec git "$@"
`

// TestSecretsAreInvisible holds that no secret is where other processes could see it, nor in what git says.
func TestSecretsAreInvisible(t *testing.T) {
	dir := t.TempDir()
	server := &gitServer{dir: dir, want: "hidden"}
	address := server.start(t)
	c := newClient(t, t.TempDir(), map[string]string{"GIT_AUTH_TOKEN": "hidden"})
	shell(t, dir, "git init -q -b main app; cd app; echo x > x; git add .; git commit -qm app")
	log := filepath.Join(t.TempDir(), "log")
	bin := t.TempDir()
	text := strings.NewReplacer("@LOG@", log, "@PATH@", "'"+os.Getenv("PATH")+"'").Replace(wrapper)
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("CI_JOB_TOKEN", "hidden")
	if _, err := archived(t, c, effect.Git{Remote: address + "/app"}); err != nil {
		t.Fatal(err)
	}
	withUser := strings.Replace(address, "http://", "http://me:hidden@", 1)
	if _, err := archived(t, c, effect.Git{Remote: withUser + "/app"}); err != nil {
		t.Fatal(err)
	}
	_, err := archived(t, c, effect.Git{Remote: strings.Replace(withUser, ":hidden@", ":hiddentoo@", 1) + "/app"})
	if err == nil || strings.Contains(err.Error(), "hidden") {
		t.Error(err)
	}
	seen, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(seen), "\nfetch\n") {
		t.Fatalf("%v: %s", err, seen)
	}
	for _, value := range []string{"hidden", string(basic("x-access-token", "hidden"))[len("Basic "):], string(basic("me", "hidden"))[len("Basic "):]} {
		if strings.Contains(string(seen), value) {
			t.Errorf("%q is visible:\n%s", value, seen)
		}
	}
}

// gitServer serves the repositories of a directory to who has a password, and notes whom it saw.
type gitServer struct {
	dir, want string
	redirect  func(r *http.Request) string // to where, if anywhere

	path    string // of programs
	libexec string
	mu      sync.Mutex
	seen    []string
}

func (s *gitServer) start(t *testing.T) string {
	t.Helper()
	s.path, s.libexec = os.Getenv("PATH"), shell(t, "/", "git --exec-path")
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server.URL
}

func (s *gitServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen = append(s.seen, r.Header.Get("Authorization"))
	s.mu.Unlock()
	if _, password, _ := r.BasicAuth(); password != s.want {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if s.redirect != nil {
		if to := s.redirect(r); to != "" {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
	}
	backend := &cgi.Handler{
		Path: filepath.Join(s.libexec, "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + s.dir, "GIT_HTTP_EXPORT_ALL=1", "PATH=" + s.path},
	}
	backend.ServeHTTP(w, r)
}

// TestSecretStays holds that a redirect does not carry a secret to another host, and that one on the same host is followed.
func TestSecretStays(t *testing.T) {
	t.Parallel()
	c := newClient(t, t.TempDir(), map[string]string{"GIT_AUTH_TOKEN": "swordfish"})
	dir := t.TempDir()
	shell(t, dir, "git init -q -b main app; cd app; echo x > x; git add .; git commit -qm app")
	away := &gitServer{dir: dir}
	there := away.start(t)
	home := &gitServer{dir: dir, want: "swordfish", redirect: func(r *http.Request) string {
		if rest, ok := strings.CutPrefix(r.URL.Path, "/far/"); ok {
			return there + "/" + rest + "?" + r.URL.RawQuery
		}
		if rest, ok := strings.CutPrefix(r.URL.Path, "/near/"); ok {
			return "/" + rest + "?" + r.URL.RawQuery
		}
		return ""
	}}
	here := home.start(t)
	for _, remote := range []string{here + "/app", here + "/near/app", here + "/far/app"} {
		if got, err := archived(t, c, effect.Git{Remote: remote}); err != nil || len(got) != 1 {
			t.Errorf("%s: %v, %v", remote, got, err)
		}
	}
	if len(away.seen) == 0 || strings.Join(away.seen, "") != "" {
		t.Errorf("the other host saw %q", away.seen)
	}
}

// TestKnown has who is told what, unasked.
func TestKnown(t *testing.T) {
	t.Parallel()
	c := newClient(t, t.TempDir(), map[string]string{
		"GIT_AUTH_TOKEN": "any", "GIT_AUTH_TOKEN.named.example": "named", "GIT_AUTH_HEADER.headed.example": "Bearer x",
		"GIT_AUTH_TOKEN.headed.example": "less", "GIT_AUTH_TOKEN.other.example:8443": "port",
	})
	for _, x := range []struct {
		at, from string
		want     authorization
	}{
		{"https://a.example/x", "", basic("x-access-token", "any")},
		{"http://a.example/x", "", basic("x-access-token", "any")},
		{"https://named.example/x", "", basic("x-access-token", "named")},
		{"https://headed.example/x", "", "Bearer x"},
		{"https://other.example:8443/x", "", basic("x-access-token", "port")},
		{"https://me:pw@named.example/x", "", basic("me", "pw")},
		{"ssh://git@named.example/x", "", ""},
		{"git://named.example/x", "", ""},
		{"file:///x", "", ""},
		// Submodules and redirects.
		{"https://a.example/y", "https://a.example/x", basic("x-access-token", "any")},
		{"https://b.example/y", "https://a.example/x", ""},
		{"https://a.example:8443/y", "https://a.example/x", ""},
		{"https://named.example/y", "https://a.example/x", basic("x-access-token", "named")},
		{"https://named.example/y", "http://a.example/x", basic("x-access-token", "named")},
		{"https://a.example/y", "http://a.example/x", ""},
		{"http://a.example/y", "https://a.example/x", ""},
		{"http://named.example/y", "https://a.example/x", ""},
		{"http://me:pw@b.example/y", "https://a.example/x", ""},
		{"https://b.example/y", "git@a.example:x", ""},
	} {
		at, err := newRemote(x.at)
		if err != nil {
			t.Fatal(err)
		}
		var from *remote
		if x.from != "" {
			r, err := newRemote(x.from)
			if err != nil {
				t.Fatal(err)
			}
			from = &r
		}
		if got, err := c.known(t.Context(), at, from); err != nil || got != x.want {
			t.Errorf("%s from %q: %q, %v, want %q", x.at, x.from, got, err, x.want)
		}
	}
}
