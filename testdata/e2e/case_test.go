//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// fixedTime is the modification time of the files of a case.
var fixedTime = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)

// testCase is one of cases/*.txtar, unpacked.
type testCase struct {
	file, debian string // what it was loaded from, for load
	name         string
	dir          string // the build context
	parent       string // the context of @PARENT@, or empty
	buildArgs    []string
	target       string
	wantError    *regexp.Regexp // nil: the build succeeds
}

// loadCase unpacks a case.
func loadCase(t *testing.T, file, debian string) testCase {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := testCase{file: file, debian: debian, name: strings.TrimSuffix(filepath.Base(file), ".txtar")}
	if err := c.readDirectives(string(archive.Comment)); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	root := t.TempDir()
	c.dir = filepath.Join(root, "context")
	for _, f := range archive.Files {
		target := filepath.Join(c.dir, f.Name)
		if strings.HasPrefix(f.Name, "parent/") {
			c.parent = filepath.Join(root, "parent")
			target = filepath.Join(root, f.Name)
		}
		text := strings.ReplaceAll(string(f.Data), "@DEBIAN@", debian)
		text = strings.ReplaceAll(text, "@PARENT@", c.parentReference(debian))
		text = strings.ReplaceAll(text, "@BARE@", bareReference(debian))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	setTimes(t, root)
	if _, err := os.Stat(filepath.Join(c.dir, "setup.sh")); err == nil {
		setup := exec.CommandContext(t.Context(), "sh", "-eu", "setup.sh")
		setup.Dir = c.dir
		if out, err := setup.CombinedOutput(); err != nil {
			t.Fatalf("%s: setup.sh: %v\n%s", file, err, out)
		}
		if err := os.Remove(filepath.Join(c.dir, "setup.sh")); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(c.dir, fixedTime, fixedTime); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// again unpacks the case once more. Each builder has a context of its own, so that none sees what
// another left.
func (c *testCase) again(t *testing.T) testCase {
	t.Helper()
	return loadCase(t, c.file, c.debian)
}

// parentReference is where the parent image is pushed: beside the base, in the same registry.
func (c *testCase) parentReference(debian string) string {
	registry, _, _ := strings.Cut(debian, "/")
	return registry + "/e2e/" + c.name + ":parent"
}

func bareReference(debian string) string {
	registry, _, _ := strings.Cut(debian, "/")
	return registry + "/e2e/base:bare"
}

func (c *testCase) readDirectives(comment string) error {
	for line := range strings.Lines(comment) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "build-arg":
			c.buildArgs = append(c.buildArgs, value)
		case "target":
			c.target = value
		case "error":
			pattern, err := regexp.Compile(value)
			if err != nil {
				return err
			}
			c.wantError = pattern
		default:
			return fmt.Errorf("unknown directive %q", key)
		}
	}
	return nil
}

// setTimes gives everything below dir the fixed time.
func setTimes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, fixedTime, fixedTime)
	})
	if err != nil {
		t.Fatal(err)
	}
}
