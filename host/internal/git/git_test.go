package git

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
