package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// block is a piece of code of the tutorial, and what its comment says is done with it.
type block struct {
	line     int
	language string
	// do is "file" or "run"; at is the file, or the directory to run in. e2e says that it takes a compiler that has to be
	// installed.
	do, at string
	e2e    bool
	text   string
}

// tutorial reads the pieces of code of sdk/README.md in their order.
func tutorial(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile("../../sdk/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	var open *block
	pending := block{}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSuffix(line, "\n")
		language, fence := strings.CutPrefix(line, "```")
		comment, isComment := strings.CutPrefix(line, "<!-- ")
		switch {
		case open != nil && fence:
			blocks = append(blocks, *open)
			open, pending = nil, block{}
		case open != nil:
			open.text += line + "\n"
		case fence:
			pending.line, pending.language = number, language
			copied := pending
			open = &copied
		case isComment:
			words := strings.Fields(strings.TrimSuffix(comment, "-->"))
			pending.do = words[0]
			pending.e2e = slices.Contains(words, "e2e")
			if len(words) > 1 && words[1] != "e2e" {
				pending.at = words[1]
			}
		}
	}
	return blocks
}

// Every piece of code of the tutorial is done: a file is written, a command run.
func TestTutorialIsTested(t *testing.T) {
	t.Parallel()
	done := 0
	for _, b := range tutorial(t) {
		if b.do != "" {
			done++
		} else if b.language != "text" {
			t.Errorf("sdk/README.md:%d: the piece of %s is not tested: put <!-- file NAME --> or <!-- run --> above it", b.line, b.language)
		}
	}
	if done < 25 {
		t.Errorf("%d pieces are tested, and there are more", done)
	}
}

// TestAuthorScripts runs the scenarios of those who write plugins, without a network and with the go command's own cache.
func TestAuthorScripts(t *testing.T) {
	t.Parallel()
	s := &scenarios{}
	cache := goCache(t)
	trowel, err := exec.LookPath("trowel")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "../../testdata/script/plugin_author",
		Setup: func(env *testscript.Env) error {
			for name, value := range map[string]string{
				"GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "GOMODCACHE": filepath.Join(env.WorkDir, "modules"),
				"GOCACHE": cache, "TROWELBIN": filepath.Dir(trowel),
			} {
				env.Setenv(name, value)
			}
			return s.setup(env)
		},
		RequireUniqueNames: true,
	})
}

// TestTutorial follows the tutorial, except for what takes compilers that have to be installed.
func TestTutorial(t *testing.T) {
	t.Parallel()
	follow(t, func(b block) bool { return !b.e2e })
}

// follow does what the chosen pieces of the tutorial say, in one directory, without a network.
func follow(t *testing.T, chosen func(block) bool, environment ...string) {
	t.Helper()
	dir, home := t.TempDir(), t.TempDir()
	environment = append(append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+home, "XDG_CONFIG_HOME="+home, "GOFLAGS=-mod=mod",
		"GOPROXY=off", "GOTOOLCHAIN=local", "GOMODCACHE="+filepath.Join(home, "modules"), "GOCACHE="+goCache(t)), environment...)
	for _, b := range tutorial(t) {
		if b.do == "" || !chosen(b) {
			continue
		}
		at := filepath.Join(dir, b.at)
		if b.do == "file" {
			if err := writeBelow(at, b.text); err != nil {
				t.Fatal(err)
			}
			continue
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-ec", b.text)
		cmd.Dir, cmd.Env = at, environment
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("sdk/README.md:%d: %v\n%s\n%s", b.line, err, b.text, out)
		}
		t.Logf("sdk/README.md:%d:\n%s", b.line, out)
	}
}

func writeBelow(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o644)
}

// goCache is the go command's cache: what it has compiled need not be compiled again.
func goCache(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(fmt.Errorf("go env GOCACHE: %w", err))
	}
	return strings.TrimSpace(string(out))
}
