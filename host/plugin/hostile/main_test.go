package hostile_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/host/plugin/wasm"
)

// canary is in the environment and on the standard input of the tests, which are the host: no plugin may have it.
const canary = "wJalrXUtnFEMI-canary-K7MDENG"

// canaryVariable is the environment variable that has it, beside one of a well-known name.
const canaryVariable = "TROWEL_TEST_CANARY"

// envHost is set in a process that is a host until it is killed: see testOrphan.
const envHost = "TROWEL_TEST_HOST"

// shared is what all tests have: the plugins that were built once, and where their compiled code is kept.
var shared struct {
	dir      string
	launcher *host.Launcher
}

// native are the modules that are built as processes; some are built both ways.
var native = []string{"environ", "loop", "bomb", "stdin", "orphan", "grandchild", "noise", "cookie", "swap", "reach"}

// sandboxed are those that are built as WebAssembly modules.
var sandboxed = []string{
	"good", "loop", "bomb", "recursion", "trap", "pointers", "flood", "concurrent", "sleeper", "fifo", "symlink", "wasi",
	"redirect", "rebind", "plan", "environ", "compiled", "substitute", "greedy", "leak", "escapes", "dice", "poison",
}

func TestMain(m *testing.M) {
	shared.launcher = host.NewLauncher()
	if dir := os.Getenv(envHost); dir != "" {
		shared.dir = dir
		os.Exit(beHost())
	}
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	var err error
	if shared.dir, err = os.MkdirTemp("", "hostile"); err == nil {
		err = errors.Join(prepare(), os.Setenv(canaryVariable, canary), os.Setenv("AWS_SECRET_ACCESS_KEY", canary))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := os.RemoveAll(shared.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	return m.Run()
}

// prepare builds the plugins, compiles the good one, and puts the canary on standard input.
func prepare() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	if _, err := w.WriteString(canary + "\n"); err != nil {
		return err
	}
	if err := errors.Join(w.Close(), unix.Dup3(int(r.Fd()), 0, 0), r.Close()); err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(2)
	group.Go(func() error { return build("", native...) })
	for _, name := range sandboxed {
		group.Go(func() error { return build("wasm", name) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return compile("good")
}

// build builds modules of testdata: a WebAssembly module, or processes, all at once.
func build(arch string, names ...string) error {
	args := []string{"build", "-p", "1", "-ldflags=-s -w", "-o", shared.dir}
	env := append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if arch == "wasm" {
		args = append(args[:len(args)-1], program(names[0], arch), "-buildmode=c-shared")
		env = append(env, "GOOS=wasip1", "GOARCH=wasm")
	}
	for _, name := range names {
		args = append(args, "./testdata/"+name)
	}
	command := exec.Command("go", args...)
	command.Env = env
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build %q: %w\n%s", names, err, out)
	}
	return nil
}

// program is the file of a module.
func program(name, arch string) string {
	if arch == "wasm" {
		name += ".wasm"
	}
	return filepath.Join(shared.dir, name)
}

// compileDir keeps what is compiled of the modules.
func compileDir() string { return filepath.Join(shared.dir, "compiled") }

// compile stores the compiled code of a module, as installing it does.
func compile(name string) (err error) {
	module, err := os.ReadFile(program(name, "wasm"))
	if err != nil {
		return err
	}
	p, err := wasm.Open(wasm.Options{Name: name, Module: module, CacheDir: compileDir(), Services: nobody{}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // the race detector makes the compiler slow
	defer cancel()
	return errors.Join(p.Compile(ctx), p.Close(ctx))
}
