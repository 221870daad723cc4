package gitref

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

func pointer(v bool) *bool { return &v }

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Repository{
		"https://example.com/team/app.git":                  {Remote: "https://example.com/team/app.git"},
		"https://example.com/app.git#main":                  {Remote: "https://example.com/app.git", Ref: "main"},
		"https://example.com/app.git#main:a/b":              {Remote: "https://example.com/app.git", Ref: "main", Subdir: "a/b"},
		"https://example.com/app.git#:a/../../b/":           {Remote: "https://example.com/app.git", Subdir: "b"},
		"http://me:pw@example.com:81/app.git#refs/pull/1/x": {Remote: "http://me:pw@example.com:81/app.git", Ref: "refs/pull/1/x"},
		"git://example.com/app#v1":                          {Remote: "git://example.com/app", Ref: "v1"},
		"ssh://git@example.com:22/app?ref=v1":               {Remote: "ssh://git@example.com:22/app", Ref: "v1"},
		"git@example.com:team/app.git?tag=v1#:x":            {Remote: "git@example.com:team/app.git", Ref: "refs/tags/v1", Subdir: "x"},
		"https://example.com/app.git?branch=a/b&subdir=/c":  {Remote: "https://example.com/app.git", Ref: "refs/heads/a/b", Subdir: "c"},
		"https://example.com/app.git?keep-git-dir&submodules=false&mtime=checkout": {
			Remote: "https://example.com/app.git", KeepGitDir: pointer(true), Submodules: pointer(false), ModTime: ModTimeCheckout,
		},
		"https://example.com/app.git?ref=main&checksum=ABC": {Remote: "https://example.com/app.git", Ref: "main", Commit: "abc"},
		"https://example.com/app.git?ref=main&fetch-by-commit&commit=" + commit: {
			Remote: "https://example.com/app.git", Ref: "main", Commit: commit, Fetch: FetchCommit,
		},
		"https://example.com/app.git?ref=main#main": {Remote: "https://example.com/app.git", Ref: "main"},
	} {
		got, ok, err := Parse(text, InDockerfile)
		if !ok || err != nil {
			t.Errorf("Parse(%s): %v, %v", text, ok, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Parse(%s) (-want +got):\n%s", text, diff)
		}
	}
}

func TestParseNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", ".", "app.git", "./https://example.com/app.git", "../app.git", "https://example.com/app", "https://example.com/app.git/", "https://example.com/x?y=app.git",
		"github.com/team/app", "file:///srv/app.git", "ftp://example.com/app.git", "ext::sh -c touch% x", "git@example.com",
	} {
		if r, ok, err := Parse(text, InDockerfile); ok || err != nil {
			t.Errorf("Parse(%q) = %+v, %v, want none", text, r, err)
		}
	}
	for text, remote := range map[string]string{
		"github.com/team/app#v1":    "https://github.com/team/app",
		"file:///srv/app.git#v1":    "file:///srv/app.git",
		"https://a.example/x.git#y": "https://a.example/x.git",
	} {
		if r, ok, err := Parse(text, OnCommandLine); !ok || err != nil || r.Remote != remote {
			t.Errorf("Parse(%q) on the command line = %+v, %v, %v", text, r, ok, err)
		}
	}
}

// TestParseBad has what must never reach git or ssh: CVE-2019-13139 and CVE-2017-1000117 among it.
func TestParseBad(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://example.com/app.git#-bfoo":                             "no ref",
		"https://example.com/app.git#--upload-pack=touch x":             "no ref",
		"https://example.com/app.git?ref=--upload-pack=x":               "no ref",
		"https://example.com/app.git#a..b":                              "no ref",
		"https://example.com/app.git#a*":                                "no ref",
		"https://example.com/app.git?branch=a^{}":                       "no ref",
		"https://example.com/app.git#a%0ab":                             "no ref",
		"ssh://-oProxyCommand=x/app":                                    "host",
		"ssh://-l@example.com/app":                                      "user",
		"ssh://example.com/-x":                                          "path",
		"git@example.com:-x":                                            "path",
		"git@example.com:":                                              "path",
		"https:///app.git":                                              "host",
		"https://example.com/app.git?rev=1":                             "unknown query",
		"https://example.com/app.git?ref=":                              "no value",
		"https://example.com/app.git?ref=a&ref=b":                       "several values",
		"https://example.com/app.git?ref=a#b":                           "both named",
		"https://example.com/app.git?tag=a&branch=b":                    "both named",
		"https://example.com/app.git?tag=a#b":                           "both named",
		"https://example.com/app.git?subdir=a#:b":                       "both named",
		"https://example.com/app.git?commit=xyz":                        "hexadecimal",
		"https://example.com/app.git?fetch-by-commit&commit=abc":        "full name",
		"https://example.com/app.git?commit=fff#" + commit:              "both named",
		"https://example.com/app.git?keep-git-dir=perhaps":              "neither true nor false",
		"https://example.com/app.git?mtime=now":                         "neither",
		"https://example.com/app.git?commit=" + strings.Repeat("a", 65): "hexadecimal",
		"git@example.com:a b":                                           "space",
		"https://example.com/a%20b.git?x=1":                             "unknown query",
	} {
		if _, ok, err := Parse(text, InDockerfile); !ok || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): %v, %v, want an error with %q", text, ok, err, want)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"ADD https://me:pw@example.com/x /y": "ADD https://xxxxx@example.com/x /y",
		"ADD https://example.com/a@b /y":     "ADD https://example.com/a@b /y",
		"git@example.com:x":                  "git@example.com:x",
		"ssh://git@example.com/x":            "ssh://git@example.com/x",
		"ssh://git:pw@example.com/x":         "ssh://xxxxx@example.com/x",
		"http://me:p@w@example.com/x":        "http://xxxxx@example.com/x",
	} {
		if got := Redact(text); got != want {
			t.Errorf("Redact(%q) = %q, want %q", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("https://example.com/app.git#main:a/b")
	f.Add("git@example.com:team/app.git?tag=v1#:x")
	f.Fuzz(func(t *testing.T, text string) {
		r, ok, err := Parse(text, OnCommandLine)
		if !ok || err != nil {
			return
		}
		if strings.HasPrefix(r.Ref, "-") || strings.HasPrefix(r.Remote, "-") || strings.HasPrefix(r.Subdir, "/") || strings.HasPrefix(r.Subdir, "..") && (len(r.Subdir) == 2 || r.Subdir[2] == '/') {
			t.Errorf("Parse(%q) = %+v", text, r)
		}
	})
}
