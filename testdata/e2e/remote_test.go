//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trowel-build/trowel/bench/imagediff"
)

// testRemote builds what is elsewhere with BuildKit and Trowel: files and repositories that ADD names, and build contexts.
func (s *suite) testRemote(t *testing.T) {
	if _, ok := s.subject.(trowel); !ok {
		t.Skip("only Trowel is compared")
	}
	began := time.Now() // BuildKit has layers of one context for the next
	web := serveElsewhere(t)
	t.Run("add", func(t *testing.T) {
		c := filepath.Join(t.TempDir(), "remote-add.txtar")
		text := strings.ReplaceAll(addElsewhere, "@WEB@", web)
		if err := os.WriteFile(c, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		s.compareImages(t, t.Context(), loadCase(t, c, s.debian), imagediff.Options{})
	})
	for name, context := range map[string]string{
		"archive":  web + "/context.tar.gz",
		"git":      web + "/git/app.git?ref=main&mtime=commit",
		"tag":      web + "/git/app.git?tag=heavy&mtime=commit",
		"subdir":   web + "/git/app.git?mtime=commit#main:dir",
		"fragment": web + "/git/app.git?mtime=commit#refs/pull/7/head",
	} {
		t.Run(name, func(t *testing.T) { s.compareContexts(t, "remote-"+name, context, began) })
	}
}

const addElsewhere = `
-- Dockerfile --
FROM scratch
ADD @WEB@/dated/file /dir/
ADD @WEB@/file @WEB@/dated/file /several/
ADD --chown=7:8 --chmod=755 @WEB@/file /owned
ADD --link @WEB@/file /linked/
ADD --checksum=sha256:da69f286f03c0d2131b3f95afe7c8d31b4f65cbf5ca49a12c41d8bf02d366a34 @WEB@/file /summed
ADD @WEB@/context.tar.gz /packed/
ADD --unpack @WEB@/context.tar.gz /unpacked
ADD @WEB@/git/app.git?mtime=checkout&submodules=false#main /git
ADD --exclude=**/.git @WEB@/git/app.git?mtime=checkout /git-modules/
ADD --chown=7:8 --chmod=700 @WEB@/git/app.git?mtime=checkout&subdir=dir&tag=heavy /git-dir
ADD @WEB@/git/app.git?mtime=checkout&submodules=0#main:dir /git/file-dir
`

// compareContexts builds one context with both. BuildKit leaves a file .git in submodules, which leads into its own directory.
func (s *suite) compareContexts(t *testing.T, name, context string, began time.Time) {
	var log bytes.Buffer
	s.oracle.turn.Lock()
	err := s.oracle.daemon.Build(t.Context(), t.TempDir(), s.reference(name, "want"), &log, "--opt=context="+context)
	s.oracle.turn.Unlock()
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	cmd := exec.CommandContext(t.Context(), s.subject.(trowel).binary, "build", "-q", "--no-local-cache", "-t", s.reference(name, "got"), "--push", context)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want, err := s.reader.Pull(t.Context(), s.reference(name, "want"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.reader.Pull(t.Context(), s.reference(name, "got"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := imagediff.Diff(want, got, imagediff.Options{Since: began}); diff != "" {
		t.Error(diff)
	}
}

// elsewhere makes the repositories, in the directory that it is run in.
const elsewhere = `
set -e
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com
export GIT_AUTHOR_DATE='1000000000 +0000' GIT_COMMITTER_DATE='1000000000 +0000' GIT_CONFIG_GLOBAL=/dev/null
for name in lib app; do git init -q -b main $name.git; done
cd lib.git; echo lib > lib; git add .; git commit -qm lib
cd ../app.git; mkdir -p dir/deep; echo file > file; echo deep > dir/deep/file; echo '#!/bin/sh' > program; chmod 775 program dir
ln -s dir link; ln -s /etc/passwd dir/away; printf 'a\nb\n' > crlf; echo x > unexported; echo '$Id$ $Format:%H$' > marked
printf 'crlf text eol=crlf\nunexported export-ignore\nmarked ident export-subst\n' > .gitattributes
printf 'FROM scratch\nCOPY --exclude=**/.git . /all/\nCOPY --chown=5 d* /flat/\n' > Dockerfile; grep -v exclude Dockerfile > dir/Dockerfile; echo '*' > .dockerignore
git -c protocol.file.allow=always submodule --quiet add ../lib.git vendor/lib
rm -rf vendor/lib/.git; git add .; git commit -qm app; git tag -am heavy heavy; git update-ref refs/pull/7/head HEAD
`

// serveElsewhere starts a web server and returns its address.
func serveElsewhere(t *testing.T) string {
	dir := t.TempDir()
	make := exec.CommandContext(t.Context(), "sh", "-c", elsewhere)
	make.Dir = dir
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	libexec, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/git/", &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(libexec)), "git-http-backend"), Root: "/git",
		Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1"},
	})
	serve := func(path string, at time.Time, content []byte) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", fmt.Sprintf(`"%d"`, len(content)))
			http.ServeContent(w, r, "", at, bytes.NewReader(content))
		})
	}
	serve("/file", time.Time{}, []byte("a file\n"))
	serve("/dated/file", time.Unix(1e9, 0), []byte("a dated file\n"))
	serve("/context.tar.gz", time.Unix(1e9, 0), packedContext(t))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// packedContext is an archive with files of several owners.
func packedContext(t *testing.T) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, f := range []struct {
		tar.Header
		content string
	}{
		{tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700, Uid: 9}, ""},
		{tar.Header{Name: "Dockerfile", Mode: 0o600}, "FROM scratch\nCOPY . /all/\nCOPY dir /dir\nCOPY --chown=1:2 file /\n"},
		{tar.Header{Name: ".dockerignore", Mode: 0o600}, "*\n"},
		{tar.Header{Name: "dir/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 7, Gid: 8}, ""},
		{tar.Header{Name: "dir/file", Mode: 0o4755, Uid: 7, Gid: 8}, "in a directory\n"},
		{tar.Header{Name: "file", Mode: 0o640, Uid: 1000}, "file\n"},
		{tar.Header{Name: "again", Typeflag: tar.TypeLink, Linkname: "file"}, ""},
		{tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "dir/file"}, ""},
	} {
		f.Size, f.ModTime = int64(len(f.content)), time.Unix(1.1e9, 0)
		if err := w.WriteHeader(&f.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
