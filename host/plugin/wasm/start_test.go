package wasm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk/abi"
)

func TestTieredStart(t *testing.T) {
	t.Parallel()
	s := &services{}
	p := open(t, Options{Services: s})
	release := hold(t, p)
	if got := call(t, p, opCount, ""); got != "1" {
		t.Fatalf("first answer %s", got)
	}
	if first := p.pool.current(); !first.interpreted {
		t.Fatal("the first answer did not come from the interpreter")
	}
	if got := call(t, p, opCount, ""); got != "2" {
		t.Errorf("call %s of its instance: the interpreter is not pooled", got)
	}
	s.do = func(context.Context, abi.HostOp, []byte) []byte { release(); return abi.OK([]byte("1")) }
	if got := call(t, p, opHost, ""); got != `{"ok":1}` {
		t.Errorf("a call that the compiler finished during: %s", got)
	}
	if got := call(t, p, opCount, ""); got != "1" {
		t.Errorf("call %s of its instance: the instance of the interpreter was used again", got)
	}
	if now := p.pool.current(); now.interpreted || now.instances != 1 {
		t.Errorf("after compilation: interpreted %t, %d instances", now.interpreted, now.instances)
	}
}

// TestSuperseded has a plan that takes the interpreter for ever, or nearly: the compiled module takes it over.
func TestSuperseded(t *testing.T) {
	t.Parallel()
	s := &services{}
	p := open(t, Options{Purity: transport.Deterministic, Services: s, Limits: transport.Limits{Timeout: time.Minute, Start: time.Minute}})
	release := hold(t, p)
	var first <-chan struct{}
	s.do = func(ctx context.Context, _ abi.HostOp, _ []byte) []byte {
		if first == nil {
			first = ctx.Done()
			release()
		}
		if ctx.Done() == first {
			return []byte("go on")
		}
		return []byte("stop")
	}
	if got := call(t, p, abi.OpPlan, "ask"); got != `{"ok":{}}` || p.pool.current().interpreted {
		t.Errorf("answer %s", got)
	}
}

// stored returns the file that a compiled module is in.
func stored(t *testing.T, dir string) (name string, info os.FileInfo) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("stored: %v, %v", files, err)
	}
	if info, err = os.Stat(files[0]); err != nil {
		t.Fatal(err)
	}
	return files[0], info
}

// compileOnce does what a process does that compiles a plugin.
func compileOnce(t *testing.T, dir string) {
	t.Helper()
	p := warm(t, Options{Module: answering(), CacheDir: dir})
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestCompileCache(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	compileOnce(t, dir)
	_, before := stored(t, dir)
	p := open(t, Options{Module: answering(), CacheDir: dir})
	call(t, p, opEcho, "x")
	if p.pool.current().interpreted {
		t.Error("a module that is stored was interpreted")
	}
	if _, after := stored(t, dir); !os.SameFile(before, after) || !after.ModTime().Equal(before.ModTime()) {
		t.Error("a module that is stored was compiled again")
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, %v", st.Mode(), err)
	}
}

func TestDamagedCache(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	compileOnce(t, dir)
	name, whole := stored(t, dir)
	if err := os.Truncate(name, whole.Size()/2); err != nil {
		t.Fatal(err)
	}
	compileOnce(t, dir)
	compileOnce(t, dir) // stores it anew
	if _, again := stored(t, dir); again.Size() != whole.Size() {
		t.Errorf("stored anew are %d of %d bytes", again.Size(), whole.Size())
	}
}

// TestSharedEngine has two plugins of one module compile it once.
func TestSharedEngine(t *testing.T) {
	t.Parallel()
	engine := newEngine(t)
	a, b := warm(t, Options{Module: answering(), Engine: engine}), open(t, Options{Module: answering(), Engine: engine})
	if len(engine.kept) != 1 || a.kept != b.kept {
		t.Errorf("%d modules are kept", len(engine.kept))
	}
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	call(t, b, opEcho, "x")
	if err := b.Close(t.Context()); err != nil || len(engine.kept) != 0 {
		t.Errorf("after Close %d modules are kept, %v", len(engine.kept), err)
	}
}

func TestCacheDirOfOthers(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(dir string) error{
		"writable by others": func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)) },
		"writable by the group": func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o770))
		},
		"a link": func(dir string) error { return os.Symlink(t.TempDir(), dir) },
		"a file": func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "cache")
			if err := prepare(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(Options{Name: "x", Module: build(t, "hello"), CacheDir: dir, Services: &services{}}); err == nil || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v", err)
			}
		})
	}
}
