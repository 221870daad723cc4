//go:build e2e

package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestTutorialEverywhere follows the tutorial's other languages. It installs their compilers, as root on a Debian-like machine.
func TestTutorialEverywhere(t *testing.T) {
	install(t, "clang", "lld", "rustc", "libstd-rust-dev-wasm32")
	follow(t, func(b block) bool { return b.e2e })
}

// TestNewEverywhere makes each kind of plugin in each language that there is a template for, builds it twice and tests it.
func TestNewEverywhere(t *testing.T) {
	install(t, "clang", "lld", "rustc", "libstd-rust-dev-wasm32")
	for _, language := range []string{"c", "rust", "as"} {
		for _, kind := range []string{"cache", "credential", "instruction"} {
			t.Run(kind+" in "+language, func(t *testing.T) {
				t.Parallel()
				script := `
					trowel plugin new ` + kind + ` a-plugin --lang ` + language + `
					cd a-plugin
					test ! -f package.json || npm install --no-audit --no-fund
					trowel plugin build
					trowel plugin build -o again.wasm
					cmp a-plugin.wasm again.wasm
					trowel plugin test`
				cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
				cmd.Dir = t.TempDir()
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				t.Logf("%s", out)
			})
		}
	}
}

// install installs Debian packages, unless they are there.
func install(t *testing.T, packages ...string) {
	t.Helper()
	if exec.CommandContext(t.Context(), "dpkg", append([]string{"-s"}, packages...)...).Run() == nil {
		return
	}
	for _, arguments := range [][]string{{"update"}, append([]string{"install", "-y", "--no-install-recommends"}, packages...)} {
		out, err := exec.CommandContext(t.Context(), "apt-get", arguments...).CombinedOutput()
		if err != nil {
			t.Fatalf("apt-get %s: %v\n%s", strings.Join(arguments, " "), err, out)
		}
	}
}
