package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/testdata/lesson"
)

// TestReadme does what the README says. Only the first of its commands, the compiler, runs in the tree: that takes seconds
// there and minutes in a copy.
func TestReadme(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	clone := t.TempDir()
	l, err := lesson.Open(root, "embed", clone)
	if err != nil {
		t.Fatal(err)
	}
	compile, script, _ := strings.Cut(l.Script, "\n")
	if want := "go build -o embed.bin ./examples/embed"; compile != want {
		t.Fatalf("the README begins with %q, want %q", compile, want)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(clone, "embed.bin"), "./examples/embed")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var stdout, stderr bytes.Buffer
	cmd = exec.CommandContext(t.Context(), "sh", "-ec", script)
	cmd.Dir, cmd.Stdout, cmd.Stderr = clone, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	digests := strings.Fields(stdout.String())
	if len(digests) != 3 || digests[0] != digests[1] || digests[1] == digests[2] {
		t.Errorf("the digests are %q: the first two must be equal, and the third another", digests)
	}
	if got := strings.Count(stderr.String(), " CACHED\n"); got != 1 {
		t.Errorf("%d steps are cached, want 1:\n%s", got, &stderr)
	}
	for name, want := range map[string]string{"one": "Tomorrow", "two": "Tomorrow", "three": "Yesterday"} {
		got, err := os.ReadFile(filepath.Join(clone, "out", name, "etc", "motd"))
		if want := "*** Message of the day ***\n" + want + ", cake.\n"; err != nil || string(got) != want {
			t.Errorf("%s: /etc/motd is %q, want %q: %v", name, got, want, err)
		}
	}
}
