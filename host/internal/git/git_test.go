package git

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/blob"
	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/kept"
	"github.com/trowel-build/trowel/host/internal/progress"
	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/host/internal/secret"
)

type silent struct{}

func (silent) Report(progress.Event) {}

// newClient is a client without a cache whose temporary files are in dir.
func newClient(t *testing.T, dir string, secrets map[string]string) *Client {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("it takes git")
	}
	store, err := blob.Open(filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]secret.Source{}
	for id, value := range secrets {
		sources[id] = secret.Source{Value: []byte(value)}
	}
	known, err := secret.NewStore(sources)
	if err != nil {
		t.Fatal(err)
	}
	web, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &Client{Web: web, Copies: kept.Copies{Store: store, Cache: cache.NewTiers(nil, nil, func(string) {})}, Dir: dir, Progress: silent{}, Secrets: known}
}

// shell runs a script in a directory, with a git that knows no configuration but an author, and returns what it prints.
func shell(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(cmd.Env,
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a",
		"GIT_COMMITTER_EMAIL=a@example.com", "PATH="+os.Getenv("PATH"), "HOME="+dir,
	)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, said.String())
	}
	return strings.TrimSpace(string(out))
}

// archived fetches a commit and returns its files: mode and content, or where a link leads.
func archived(t *testing.T, c *Client, want effect.Git) (map[string]string, error) {
	t.Helper()
	m, err := c.Resolve(t.Context(), want)
	if err != nil {
		return nil, err
	}
	tree, _, err := m.Archive(t.Context())
	if err != nil {
		return nil, err
	}
	node, _ := tree.Lookup(ArchiveName)
	source, ref := node.Source(ArchiveName)
	f, err := source.Open(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := map[string]string{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimSuffix(h.Name, "/")] = describe(h.FileInfo().Mode(), content, h.Linkname)
	}
}

func describe(mode fs.FileMode, content []byte, link string) string {
	switch mode.Type() {
	case fs.ModeDir:
		return "directory"
	case fs.ModeSymlink:
		return "-> " + link
	}
	return fmt.Sprintf("%v %q", mode, content)
}

// checkedOut are the files of a directory, in the same form.
func checkedOut(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		if d.Name() == ".git" {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var content []byte
		link := ""
		switch d.Type() {
		case 0:
			content, err = os.ReadFile(p)
		case fs.ModeSymlink:
			link, err = os.Readlink(p)
		}
		files[strings.TrimPrefix(p, dir+"/")] = describe(info.Mode(), content, link)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// attributed is a repository with all that makes a file in an archive another than the one that is checked out, and with
// programs that would run if anybody's configuration were read.
const attributed = `
umask 022
git init -q -b main lib; cd lib; printf 'x export-ignore\n' > .gitattributes; echo x > x; git add .; git commit -qm lib; cd ..
git init -q -b main app; cd app
mkdir -p left/out deep odd 'a "b'
for f in plain ignored left/out/f deep/ignored deep/kept by-macro auto.txt lf crlf ident subst both filtered lfs; do
  printf 'line $Id$ $Format:%%H$\nnext\n' > $f
done
printf 'l\0\r\0\n\0' > utf16
printf 'a\r\nb\r\n' > auto-crlf.txt; printf 'a\0\r\n' > binary; : > empty; printf x > 'a "b/c
d'; printf x > $(printf '%0200d' 1)
mkdir -p $(printf '%0100d/%0100d' 1 2); printf x > $(printf '%0100d/%0100d' 1 2)/f
echo '#!/bin/sh' > program; chmod 755 program; ln -s /etc/passwd out; ln -s plain in; ln -s nowhere deep/dangling
cat > .gitattributes <<X
[attr]hidden export-ignore export-subst
ignored export-ignore
left export-ignore
by-macro hidden
*.txt text=auto
lf text eol=lf
crlf text eol=crlf
ident ident
subst export-subst
both ident export-subst text eol=crlf
utf16 text working-tree-encoding=UTF-16LE eol=crlf
filtered filter=evil diff=evil merge=evil
lfs filter=lfs -text
X
printf 'ignored export-ignore\nkept export-subst\n' > deep/.gitattributes
git -c protocol.file.allow=always submodule --quiet add ../lib modules/lib
git -c core.autocrlf=false add .
git commit -qm app
`

// TestFilesAreThoseCheckedOut compares with git clone.
func TestFilesAreThoseCheckedOut(t *testing.T) {
	t.Parallel()
	c := newClient(t, t.TempDir(), nil)
	dir := t.TempDir()
	shell(t, dir, attributed+"cd ..; git -c protocol.file.allow=always clone -q --recurse-submodules app want")
	want := checkedOut(t, filepath.Join(dir, "want"))
	if len(want) < 30 || !strings.Contains(want["crlf"], `\r\n`) || strings.Contains(want["ident"], "$Id$") {
		t.Fatalf("the clone has %v", want)
	}
	got, err := archived(t, c, effect.Git{Remote: "file://" + dir + "/app"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-checked out +archived):\n%s", diff)
	}
}

// TestNoConfiguration holds that git reads nobody's configuration: of the user, of a variable, nor of the repository in
// which a CI job has its temporary files.
func TestNoConfiguration(t *testing.T) {
	dir := t.TempDir()
	around := filepath.Join(dir, "around")
	c := newClient(t, filepath.Join(around, "tmp"), nil)
	shell(t, dir, `
git init -q -b main app; cd app; echo x > x; git add .; git commit -qm app; cd ..
git init -q around; mkdir around/tmp; git -C around config url.file:///absent.insteadOf file://
git -C around config --file "$PWD/evil" url.file:///absent.insteadOf file://`)
	evil := filepath.Join(dir, "evil")
	for name, value := range map[string]string{
		"GIT_CONFIG_GLOBAL": evil, "GIT_CONFIG_SYSTEM": evil, "GIT_CONFIG": evil, "GIT_DIR": around + "/.git", "GIT_WORK_TREE": around,
		"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "url.file:///absent.insteadOf", "GIT_CONFIG_VALUE_0": "file://",
		"GIT_OBJECT_DIRECTORY": around, "GIT_INDEX_FILE": around + "/index", "GIT_SSH_COMMAND": "false", "GIT_EXEC_PATH": around,
		"GIT_TEMPLATE_DIR": around, "GIT_NAMESPACE": "x", "GIT_TRACE": dir + "/trace", "XDG_CONFIG_HOME": dir, "HOME": dir,
		"GIT_ALLOW_PROTOCOL": "none", "GIT_PROXY_COMMAND": "false", "GIT_EXTERNAL_DIFF": "false", "GIT_ATTR_SOURCE": "x",
	} {
		t.Setenv(name, value)
	}
	if err := os.WriteFile(filepath.Join(dir, ".gitconfig"), []byte("[url \"file:///absent\"]\n\tinsteadOf = file://\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := archived(t, c, effect.Git{Remote: "file://" + dir + "/app"})
	if err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "trace")); err == nil {
		t.Error("the trace was written")
	}
}

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

func TestReason(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"remote: x\nfatal: a\nerror: b\n": "a; b",
		"one\rtwo\nthree\nfour":           "two; three; four",
		"":                                "",
		"me@h: Permission denied (publickey).\r\nfatal: Could not read from remote repository.\n\nPlease make sure": "me@h: Permission denied (publickey).; Could not read from remote repository.",
		"Host key verification failed.\nfatal: x":                      "Host key verification failed.; x",
		"ssh: connect to host h port 22: Connection refused\nfatal: x": "ssh: connect to host h port 22: Connection refused; x",
	} {
		if got := (&tail{text: []byte(said)}).reason(); got != want {
			t.Errorf("%q: %q, want %q", said, got, want)
		}
	}
}
