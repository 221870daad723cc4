package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWorkDirSweepsTheDead(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	living, err := openWorkDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	dead, err := openWorkDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	// A build that is killed leaves its directory, and its lock goes with it.
	if err := dead.lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dead.trees, "file"), nil, 0); err != nil {
		t.Fatal(err)
	}
	// One that is killed as soon as it has a directory, or in the middle of removing it, leaves it empty.
	if err := os.Mkdir(filepath.Join(parent, workPrefix+"empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(parent, "somebody's")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	next, err := openWorkDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(parent, "*"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{living.dir: true, next.dir: true, foreign: true}
	got := map[string]bool{}
	for _, p := range left {
		got[p] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("directories left (-want +got):\n%s", diff)
	}
	if err := living.close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(living.dir); !os.IsNotExist(err) {
		t.Errorf("a closed work directory is still there: %v", err)
	}
}

func TestMakePrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fresh := filepath.Join(dir, "fresh")
	if err := makePrivate(fresh); err != nil {
		t.Error(err)
	}
	if err := makePrivate(fresh); err != nil {
		t.Errorf("the second time: %v", err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(fresh, link); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{open, link, filepath.Join(dir, "missing", "x")} {
		if err := makePrivate(bad); err == nil {
			t.Errorf("%s passes for a directory of one's own", bad)
		}
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	text, err := hosts(hostname, []string{"a:10.0.0.1", "b=::1", "c:[fe80::1]"})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"127.0.0.1\tlocalhost buildkitsandbox\n", "10.0.0.1\ta\n", "::1\tb\n", "fe80::1\tc\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
	for _, bad := range []string{"", "a", "a:", ":10.0.0.1", "a:b", "a\n:10.0.0.1"} {
		if _, err := hosts(hostname, []string{bad}); err == nil {
			t.Errorf("%q passes for a host with its address", bad)
		}
	}
}

func TestTreeMemory(t *testing.T) {
	t.Parallel()
	if free := freeMemory(); free <= 0 {
		t.Errorf("%d bytes of memory are free", free)
	}
	if w, budget := openTreeMemory(0); w != nil || budget != 0 {
		t.Error("memory is used though none is allowed")
	}
	group := t.TempDir()
	for name, text := range map[string]string{"limited": "1000\n", "unlimited": "max\n", "broken": "many\n"} {
		if err := os.WriteFile(filepath.Join(group, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, ok := readNumber(filepath.Join(group, "limited")); n != 1000 || !ok {
		t.Errorf("a limit is read as %d, %v", n, ok)
	}
	if n, ok := readNumber(filepath.Join(group, "unlimited")); n < 1<<62 || !ok {
		t.Errorf("no limit is read as %d, %v", n, ok)
	}
	for _, name := range []string{"broken", "missing"} {
		if _, ok := readNumber(filepath.Join(group, name)); ok {
			t.Errorf("%s passes for a number", name)
		}
	}
}
