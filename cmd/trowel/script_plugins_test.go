package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// compiledPlugin is a plugin of testdata/plugins, compiled once for all scenarios.
type compiledPlugin struct {
	once    sync.Once
	program []byte
	err     error
}

// makePlugin compiles a plugin: "mkplugin wasm|native NAME FILE".
func (s *scenarios) makePlugin(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: mkplugin wasm|native NAME FILE")
	}
	kept, _ := s.plugins.LoadOrStore(args[0]+" "+args[1], &compiledPlugin{})
	c := kept.(*compiledPlugin)
	c.once.Do(func() { c.program, c.err = compilePlugin(args[0], args[1]) })
	ts.Check(c.err)
	file := ts.MkAbs(args[2])
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	ts.Check(os.WriteFile(file, c.program, 0o755))
}

// envPlugins is a directory with plugins that are compiled already, for users who have no compiler.
const envPlugins = "TROWEL_TEST_PLUGINS"

// compiledName is what a plugin is called there.
func compiledName(target, name string) string { return target + "-" + filepath.Base(name) }

func compilePlugin(target, name string) ([]byte, error) {
	if dir := os.Getenv(envPlugins); dir != "" {
		return os.ReadFile(filepath.Join(dir, compiledName(target, name)))
	}
	dir, err := os.MkdirTemp("", "plugin-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, filepath.Base(name))
	args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", out}
	env := append(os.Environ(), "CGO_ENABLED=0")
	if target == "wasm" {
		args = append(args, "-buildmode=c-shared")
		env = append(env, "GOOS=wasip1", "GOARCH=wasm")
	}
	cmd := exec.Command("go", append(args, pluginSource(name))...)
	cmd.Env = env
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile the plugin %s: %w\n%s", name, err, text)
	}
	return os.ReadFile(out)
}

// pluginSource is the directory of a plugin: of testdata/plugins, or, with a slash in its name, below the repository.
func pluginSource(name string) string {
	if strings.Contains(name, "/") {
		return "../../" + name
	}
	return "./testdata/plugins/" + name
}
