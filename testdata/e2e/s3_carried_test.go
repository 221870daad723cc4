//go:build e2e

package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/bench/lab"
)

// TestPluginsCarryCode installs the plugins of the binary, which compiles what the binary has no code of for this machine.
func TestPluginsCarryCode(t *testing.T) {
	binary := os.Getenv("TROWEL")
	if binary == "" {
		l, err := lab.Open(labDir(t), os.Stderr)
		must(t, err)
		t.Cleanup(func() { must(t, l.Close()) })
		binary, err = l.Trowel(t.Context())
		must(t, err)
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "trowel.toml"), []byte(`plugins.s3 = { kind = "cache", source = "builtin:s3" }
plugins.gitlab = { kind = "credential", source = "builtin:gitlab", match = ["*.example.com"] }
plugins.jsonnet = { kind = "instruction", source = "builtin:jsonnet" }
`), 0o644))
	cmd := exec.CommandContext(t.Context(), binary, "plugin", "install", "--cache-dir", "cache")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), " wasm ") != 3 {
		t.Fatalf("install: %v\n%s", err, out)
	}
	must(t, filepath.WalkDir(filepath.Join(dir, "cache", "compiled"), func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("something was compiled: %s", name)
		}
		return err
	}))
}
