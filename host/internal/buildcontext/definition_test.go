package buildcontext

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDockerfile(t *testing.T) {
	t.Parallel()
	outside := write(t, map[string]string{"Other": "other", "Other.dockerignore": "from-other", "Plain": "plain"})
	dir := write(t, map[string]string{
		"Dockerfile": "FROM scratch", "sub/Dockerfile.dev": "dev", "sub/Dockerfile.dev.dockerignore": "from-dev",
		".dockerignore": "from-root\nDockerfile", "link -> sub/Dockerfile.dev": "", "out -> " + outside + "/Other": "", "dir/": "",
		"up -> ../../../../../../../../sub/Dockerfile.dev": "",
	})
	lower := write(t, map[string]string{"dockerfile": "lower"})
	big := write(t, map[string]string{"Dockerfile": strings.Repeat("#", maxDefinition+1)})
	tests := map[string]struct {
		dir, file     string
		content, rule string
		err           string
	}{
		"default":                  {dir, "", "FROM scratch", "from-root", ""},
		"in lower case":            {lower, "", "lower", "", ""},
		"named":                    {dir, dir + "/Dockerfile", "FROM scratch", "from-root", ""},
		"with its own ignore file": {dir, dir + "/sub/Dockerfile.dev", "dev", "from-dev", ""},
		"link":                     {dir, dir + "/link", "dev", "from-root", ""},
		"link that leads up":       {dir, dir + "/up", "dev", "from-root", ""},
		"outside":                  {dir, outside + "/Other", "other", "from-other", ""},
		"outside without ignore":   {dir, outside + "/Plain", "plain", "from-root", ""},
		"link to outside":          {dir, dir + "/out", "", "from-root", "is a symlink to"},
		"missing":                  {outside, "", "", "", `Dockerfile": not found; name it with -f`},
		"missing, named":           {dir, dir + "/nothing", "", "from-root", "not found"},
		"missing outside":          {dir, outside + "/nothing", "", "from-root", "not found"},
		"in the context":           {dir, "sub/Dockerfile.dev", "", "from-root", "the path is relative to the working directory, and the build context has such a file"},
		"directory":                {dir, dir + "/dir", "", "from-root", "is a directory"},
		"not a file":               {dir, NoDockerfile, "", "from-root", "opened without one"},
		"too large":                {big, "", "", "", "larger than 16 MiB"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := open(t, tt.dir, Options{Dockerfile: tt.file})
			df, err := c.Dockerfile(t.Context())
			switch {
			case tt.err == "" && err != nil, tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error %v, want %q", err, tt.err)
			case string(df.Content) != tt.content:
				t.Errorf("content %q", df.Content)
			}
			rule := ""
			if len(c.ignore.rules) > 0 {
				rule = c.ignore.rules[0].String()
			}
			if rule != tt.rule {
				t.Errorf("ignore rule %q, want %q", rule, tt.rule)
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"file": "", "bad/.dockerignore": "ok\n\n# fine\na[\n", "lone/.dockerignore": "!\n", "big/.dockerignore": strings.Repeat("#", maxDefinition+1)})
	if err := os.MkdirAll(filepath.Join(dir, "isdir/.dockerignore"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		dir string
		o   Options
		err string
	}{
		"missing":            {"nothing", Options{}, "no such file"},
		"a file":             {"file", Options{}, "not a directory"},
		"bad pattern":        {"bad", Options{}, `bad/.dockerignore:4: bad pattern "a[": syntax error in pattern`},
		"lone exception":     {"lone", Options{}, `lone/.dockerignore:1: bad pattern "!": nothing follows the "!"`},
		"too large":          {"big", Options{}, "larger than"},
		"a directory":        {"isdir", Options{}, `.dockerignore": is a directory`},
		"missing ignorefile": {"bad", Options{IgnoreFile: dir + "/nothing"}, "read the ignore file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Open(t.Context(), filepath.Join(dir, tt.dir), tt.o)
			if err == nil {
				t.Fatal("no error", c.Close())
			}
			if !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestParseIgnoreFile(t *testing.T) {
	t.Parallel()
	f, err := parseIgnoreFile("x", []byte("\xef\xbb\xbfbom\r\n#comment\n  spaces  \n #kept\n/slash/../a/\n! b\n\n!!c\n**/d"))
	if err != nil {
		t.Fatal(err)
	}
	want := []rule{{1, "bom", false}, {3, "spaces", false}, {4, "#kept", false}, {5, "a", false}, {6, "b", true}, {8, "!c", true}, {9, "**/d", false}}
	if diff := cmp.Diff(want, f.rules, cmp.AllowUnexported(rule{})); diff != "" {
		t.Error(diff)
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		".dockerignore": "# no secrets\n\n*.key\n!public.key\nbuild\n", "a.key": "", "public.key": "", "build/out": "", "src/main.go": "",
		"src/readme": "", "link -> build/out": "", "dangling -> nowhere": "", "loop -> loop": "",
	})
	c := open(t, dir, Options{})
	for p, want := range map[string]string{
		"a.key":        `.dockerignore line 3 (*.key)`,
		"build/out":    `.dockerignore line 5 (build)`,
		"build/*":      `"build/*": not found in the build context: excluded by`,
		"link":         `.dockerignore line 5 (build)`,
		"src/mian.go":  `did you mean "src/main.go"?`,
		"src/README":   `did you mean "src/readme"?`,
		"./src/mai.go": `did you mean "src/main.go"?`,
		"b.key":        `"b.key": not found in the build context`,
		"buidl":        `"buidl": not found in the build context`,
		"dangling":     `"dangling" is a symlink to "nowhere", which is not in the build context`,
		"loop":         "too many levels of symbolic links",
		"src/readme/x": "not a directory",
		"../other":     `".." does not leave the build context`,
	} {
		err := c.Missing(t.Context(), p)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", p, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "build\"?") {
			t.Errorf("%q: suggests what is ignored: %v", p, err)
		}
	}
}

func FuzzIgnoreFile(f *testing.F) {
	for _, s := range []string{"*\n!a/b", "**/x\n!**/y\n", "a[b-\n", "!\n", "\\", "a/**/b\n!a/*/b", "[^a]", "!!a", "***", "a**b", "[]a]", "[a/b]"} {
		f.Add(s, "a/b/c")
	}
	f.Fuzz(func(t *testing.T, text, p string) {
		file, err := parseIgnoreFile("x", []byte(text))
		if err != nil {
			return
		}
		m, err := file.matcher()
		if err != nil {
			t.Fatalf("parsed, and cannot be compiled: %v", err)
		}
		p = strings.Trim(filepath.Clean("/"+p), "/")
		if m == nil || p == "" || strings.ContainsRune(p, 0) {
			return
		}
		ignored, err := m.MatchesOrParentMatches(p)
		if err != nil {
			t.Fatalf("parsed, and cannot match %q: %v", p, err)
		}
		r, found := file.decisive(p)
		if want := found && !r.negated; ignored != want {
			t.Fatalf("%q: ignored is %v, yet the deciding rule is %v", p, ignored, r)
		}
		// A directory that is not walked must hold nothing that is not ignored.
		dir := filepath.Dir(p)
		if dir == "." {
			return
		}
		hidden, err := m.MatchesOrParentMatches(dir)
		if err != nil {
			t.Fatal(err)
		}
		if hidden && !ignored && !file.mayHoldExceptions(dir) {
			t.Fatalf("%q is not ignored, but %q would not be walked", p, dir)
		}
	})
}

func FuzzWanted(f *testing.F) {
	f.Add("a/*/c", "a/b/c")
	f.Add(`a\*`, "a*")
	f.Add("a/**/x", "a/b/x")
	f.Add("[", "[")
	f.Fuzz(func(t *testing.T, pattern, p string) {
		p = strings.Trim(filepath.Clean("/"+p), "/")
		clean := strings.Trim(filepath.Clean("/"+pattern), "/")
		if p == "" || clean == "" {
			return
		}
		matched, err := filepath.Match(clean, p)
		if errors.Is(err, filepath.ErrBadPattern) {
			matched = false
		}
		if !matched {
			return
		}
		w := newWants([]string{pattern})
		for name := range strings.SplitSeq(p, "/") {
			if names, only := w.names(); only && !contains(names, name) {
				t.Fatalf("%q matches %q, but %q is not looked at", pattern, p, name)
			}
			below, _, wanted := w.of(name)
			if !wanted {
				t.Fatalf("%q matches %q, but %q is not wanted", pattern, p, name)
			}
			w = below
		}
		if !w.all {
			t.Fatalf("%q matches %q, but is not wanted whole", pattern, p)
		}
	})
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}
