package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Regression tests for vulnerabilities of other builders, named after them: repositories of git.

// git runs git in the site's repository, and returns what it prints.
func (s *site) git(input string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", s.dir + "/www/app.git"}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("git %q: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// gitSite is a site with a repository whose branch main has a Dockerfile that copies everything, a file, a directory, and links
// out; and with a web server for it.
func gitSite(t *testing.T) (s *site, address string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("it takes git")
	}
	s = newSite(t)
	must(t, os.MkdirAll(s.dir+"/www/app.git", 0o755))
	s.git("", "init", "-q", "-b", "main")
	s.write("../www/app.git/Dockerfile", copiesAll)
	s.write("../www/app.git/file", "a file\n")
	s.write("../www/app.git/dir/Dockerfile", copiesAll)
	for name, target := range map[string]string{"out": s.canary, "up": "../../canary", "within": "dir", "dir/up": "../..", "root": "/"} {
		must(t, os.Symlink(target, s.dir+"/www/app.git/"+name))
	}
	s.git("", "add", ".")
	s.git("", "commit", "-qm", "one")
	server := httptest.NewServer(&web{dir: s.dir + "/www", log: s.dir + "/web.log", broken: map[string]bool{}})
	t.Cleanup(server.Close)
	return s, server.URL + "/git/app.git"
}

// gitWays are how a repository is read.
var gitWays = map[string]func(s *site, address string) outcome{
	"context": func(s *site, address string) outcome {
		return s.trowel("build", "--progress", "plain", "-o", "type=local,dest="+s.dir+"/home/out", address)
	},
	"ADD": func(s *site, address string) outcome {
		s.write("Dockerfile", "FROM scratch\nADD "+address+" /all/\n")
		return s.trowel("build", "--progress", "plain", "-o", "type=local,dest="+s.dir+"/home/out", s.context)
	},
}

// TestCVE2019_13139 (docker): what is a ref, a host or a path of an address is an option of git or of ssh.
func TestCVE2019_13139(t *testing.T) {
	t.Parallel()
	s, address := gitSite(t)
	ran := s.dir + "/home/ran"
	touch := "touch${IFS}" + ran
	for _, a := range []string{
		address + "#--upload-pack=" + touch, address + "#-u" + touch, address + "#-bfoo", address + "#--upload-pack=" + touch + ":dir", address + "#main%0a--exec=x",
		address + "?ref=--upload-pack=" + url.QueryEscape(touch), address + "?ref=-q", address + "?commit=--exec=x", address + "#main..--x", address + "#+main",
		"ssh://-oProxyCommand=" + touch + "/app.git", "ssh://-oProxyCommand=x@127.0.0.1:1/app.git", "ssh://127.0.0.1:1/-app.git", "git@127.0.0.1:--upload-pack=" + touch,
		"git://-x/app.git", "http://127.0.0.1:1/--upload-pack=" + touch + ".git", "ext::sh -c " + touch, "fd::7", "https://%0a--upload-pack=x/app.git",
	} {
		for way, use := range gitWays {
			o := use(s, a)
			s.refused(o)
			if _, err := os.Lstat(ran); err == nil {
				t.Fatalf("%s %q ran a program", way, a)
			}
			if strings.Contains(o.stderr, "usage: git") || strings.Contains(o.stderr, "unknown option") {
				t.Errorf("%s %q reached git as an option:\n%s", way, a, o.stderr)
			}
			if strings.Contains(a, "#-") || strings.Contains(a, "?ref=-") {
				s.refused(o, `is no ref`)
			}
		}
	}
	// A branch may have such a name, as long as nothing takes it for one.
	s.git("", "update-ref", "refs/heads/--upload-pack="+touch, "main")
	s.git("", "symbolic-ref", "HEAD", "refs/heads/--upload-pack="+touch)
	for _, use := range gitWays {
		if o := use(s, address+"?branch=--upload-pack="+url.QueryEscape(touch)); o.code != 0 {
			s.refused(o)
		}
		if o := use(s, address); o.code != 0 {
			s.refused(o)
		}
		if _, err := os.Lstat(ran); err == nil {
			t.Fatal("the name of a branch ran a program")
		}
	}
}

// TestGHSAhw3h_2gp9_cxpv (BuildKit): the remote says that its HEAD leads to an option; and an address asks for a bundle.
func TestGHSAhw3h_2gp9_cxpv(t *testing.T) {
	t.Parallel()
	s, address := gitSite(t)
	id := s.git("", "rev-parse", "main")
	ran := s.dir + "/home/ran"
	packet := func(line string) string { return fmt.Sprintf("%04x%s", len(line)+4, line) }
	for _, target := range []string{
		"--upload-pack=touch${IFS}" + ran, "-u", "--output=" + s.canary + "/file", "../../canary/file", "refs/heads/../../x", "refs/heads/a:refs/heads/b", "+main", "refs/heads/*",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if !strings.HasSuffix(q.URL.Path, "/info/refs") {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = w.Write([]byte(packet("# service=git-upload-pack\n") + "0000" + packet(id+" HEAD\x00symref=HEAD:"+target+" allow-any-sha1-in-want\n") + packet(id+" "+target+"\n") + "0000"))
		}))
		for way, use := range gitWays {
			o := use(s, server.URL+"/app.git")
			t.Logf("%s, %q: %s", way, target, complaint(o.stderr))
			s.refused(o)
			if strings.HasPrefix(target, "-") {
				s.refused(o, `is no ref`)
			}
		}
		server.Close()
	}
	for _, use := range gitWays {
		s.refused(use(s, address+"?bundle=--output=x"), `unknown query "bundle"`)
	}
	if _, err := os.Lstat(ran); err == nil {
		t.Error("a program ran")
	}
}

// TestCVE2026_33748 (BuildKit), and CVE-2026-44517 of buildah: the directory in a repository leads out of it, by its name or by a
// link; and trees that git would not make.
func TestCVE2026_33748(t *testing.T) {
	t.Parallel()
	for way, use := range gitWays {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			s, address := gitSite(t)
			for sub, want := range map[string]string{
				"out": `"out" is a symlink`, "out/below": `"out" is a symlink`, "up": `"up" is a symlink`, "within": `"within" is a symlink`,
				"dir/up": `"dir/up" is a symlink`, "dir/up/canary": `"dir/up" is a symlink`, "root" + s.canary: `"root" is a symlink`, ".git": `no directory`, "dir/../.git/hooks": `no directory`,
				"../../canary": `no directory`, s.canary[1:]: `no directory`, "/etc": `no directory`, "..%2f..%2fcanary": `no directory`,
			} {
				o := use(s, address+"#main:"+sub)
				s.unseen(o)
				s.refused(o, want)
				s.refused(use(s, address+"?subdir="+url.QueryEscape(sub)))
			}
			for _, sub := range []string{"../..", "..", "/", "dir/../../.."} { // the repository itself, as with BuildKit
				s.succeeded(use(s, address+"#main:"+sub))
				s.unread()
			}
		})
	}
	t.Run("trees", func(t *testing.T) {
		t.Parallel()
		s, address := gitSite(t)
		blob, link := s.git("dead", "hash-object", "-w", "--stdin"), s.git(s.canary, "hash-object", "-w", "--stdin")
		dockerfile := s.git(copiesAll, "hash-object", "-w", "--stdin")
		tree := func(entries ...string) string { // "MODE NAME ID"
			var b bytes.Buffer
			for _, e := range entries {
				mode, rest, _ := strings.Cut(e, " ")
				i := strings.LastIndexByte(rest, ' ')
				id, err := hex.DecodeString(rest[i+1:])
				must(t, err)
				fmt.Fprintf(&b, "%s %s\x00%s", mode, rest[:i], id)
			}
			return s.git(b.String(), "hash-object", "-w", "--literally", "-t", "tree", "--stdin")
		}
		below := tree("100644 Dockerfile "+dockerfile, "100644 file "+blob)
		first := "100644 Dockerfile " + dockerfile
		for name, id := range map[string]string{
			"a link and a directory": tree(first, "120000 d "+link, "40000 d "+below),
			"a directory and a link": tree(first, "40000 d "+below, "120000 d "+link),
			"up":                     tree(first, "40000 .. "+tree("40000 canary "+below)),
			"a path":                 tree(first, "100644 ../../canary/file "+blob),
			"absolute":               tree(first, "100644 "+s.canary+"/file "+blob),
			".git":                   tree(first, "40000 .git "+tree("100755 hooks "+blob, "100644 config "+blob)),
			"through a link":         tree(first, "120000 d "+link, "100644 d/file "+blob),
			"the Dockerfile":         tree("120000 Dockerfile " + s.git(s.canary+"/file", "hash-object", "-w", "--stdin")),
			"a submodule":            tree(first, "120000 .gitmodules "+s.git(s.canary+"/file", "hash-object", "-w", "--stdin"), "160000 d "+strings.Repeat("1", 40)),
		} {
			s.git("", "update-ref", "refs/heads/evil", s.git("", "commit-tree", "-m", name, id))
			for way, use := range gitWays {
				for _, sub := range []string{"", ":d"} {
					o := use(s, address+"#evil"+sub)
					t.Logf("%s, %s, %q: %d %s", name, way, sub, o.code, complaint(o.stderr))
					s.unseen(o)
					if o.code != 0 {
						s.refused(o)
					}
					s.unread()
				}
			}
		}
	})
}

// unread makes sure that the output has nothing from outside, and removes it.
func (s *site) unread() {
	s.t.Helper()
	must(s.t, filepath.WalkDir(s.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasPrefix(p, s.dir+"/home/out") || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(p)
		if bytes.Contains(text, []byte("alive")) {
			s.t.Errorf("%s is from outside", p)
		}
		return err
	}))
	must(s.t, os.RemoveAll(s.dir+"/home/out"))
}

// TestCVE2023_26054 (BuildKit): the credentials of an address are in what is made of it: messages, the image and its history,
// the cache, and .git.
func TestCVE2023_26054(t *testing.T) {
	t.Parallel()
	for way, use := range map[string]func(s *site, address string, flags ...string) outcome{
		"context": func(s *site, address string, flags ...string) outcome {
			args := []string{"build", "--progress", "plain", "--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"}
			return s.trowel(append(append(args, flags...), address)...)
		},
		"ADD": func(s *site, address string, flags ...string) outcome {
			s.write("Dockerfile", "FROM scratch\nADD --keep-git-dir "+address+" /all/\n")
			return s.trowel(append(append([]string{"build", "--progress", "plain"}, flags...), s.context)...)
		},
		"named context": func(s *site, address string, flags ...string) outcome {
			s.write("Dockerfile", "FROM scratch\nCOPY --from=source / /all/\n")
			return s.trowel(append(append([]string{"build", "--progress", "plain", "--build-context", "source=" + address}, flags...), s.context)...)
		},
	} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			s, address := gitSite(t)
			address = strings.Replace(address, "/git/", "/private/", 1)
			with := func(user string) string { return strings.Replace(address, "://", "://"+user+"@", 1) }
			outputs := [][]string{
				{"-o", "type=local,dest=" + s.dir + "/home/out"}, {"-o", "type=oci,compression=uncompressed,dest=" + s.dir + "/home/out.tar"}, {"-t", s.host() + "/app:1", "--push"},
			}
			for _, flags := range outputs {
				o := use(s, with("x-access-token:swordfish"), flags...)
				s.succeeded(o)
				s.unseen(o, "swordfish")
			}
			o := s.trowel("inspect", "--json", s.host()+"/app:1")
			s.succeeded(o)
			if strings.Contains(o.stdout, "swordfish") {
				t.Errorf("the image has it:\n%s", o.stdout)
			}
			for _, wrong := range []string{"x:hammerhead", "hammerhead", ":hammerhead", "x:hammer%2fhead"} {
				for ref, want := range map[string]string{"main": `access denied`, "-bad": `is no ref`} {
					o := use(s, with(wrong)+"#"+ref)
					s.refused(o, want)
					s.unseen(o, "hammer")
				}
			}
			s.nowhere("swordfish", "hammer")
		})
	}
}

// nowhere makes sure that no file of the home, the cache and the temporary files has a word.
func (s *site) nowhere(words ...string) {
	s.t.Helper()
	seen := 0
	for _, dir := range []string{"home", "tmp"} {
		must(s.t, filepath.WalkDir(s.dir+"/"+dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			seen++
			text, err := os.ReadFile(p)
			for _, w := range words {
				if bytes.Contains(text, []byte(w)) || strings.Contains(p, w) {
					s.t.Errorf("%s has %q", p, w)
				}
			}
			return err
		}))
	}
	if seen < 10 {
		s.t.Errorf("only %d files were looked at", seen)
	}
}
