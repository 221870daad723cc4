package wasm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// shared is what the tests have in common: modules are built once, and compiled once.
var shared struct {
	dir     string
	modules sync.Map // name to func() ([]byte, error)
	engine  *Engine
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "trowel-wasm-test")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	shared.dir = dir
	if shared.engine, err = NewEngine(filepath.Join(dir, "compiled")); err != nil {
		panic(err)
	}
	return m.Run()
}

// build compiles the guest in testdata/name.
func build(t testing.TB, name string) []byte {
	t.Helper()
	once, _ := shared.modules.LoadOrStore(name, sync.OnceValues(func() ([]byte, error) {
		out := filepath.Join(shared.dir, name+".wasm")
		command := exec.CommandContext(context.Background(), "go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "./testdata/"+name)
		command.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
		command.Stdout, command.Stderr = os.Stderr, os.Stderr
		if err := command.Run(); err != nil {
			return nil, err
		}
		return os.ReadFile(out)
	}))
	module, err := once.(func() ([]byte, error))()
	if err != nil {
		t.Fatalf("build guest %s: %v", name, err)
	}
	return module
}

// open opens the guest with the shared engine; its compiled code is stored unless a test sees to it that it is not.
func open(t testing.TB, o Options) *Plugin {
	t.Helper()
	if o.Name == "" {
		o.Name = "guest"
	}
	if o.Module == nil {
		o.Module = build(t, "probe")
	}
	if o.Services == nil {
		o.Services = &services{}
	}
	if o.Hello == nil {
		o.Hello = []byte("hi")
	}
	if o.Engine == nil && o.CacheDir == "" {
		o.Engine = shared.engine
	}
	p, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// newEngine keeps compiled modules for one test.
func newEngine(t testing.TB) *Engine {
	t.Helper()
	e, err := NewEngine("")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// warm is open with the module compiled.
func warm(t testing.TB, o Options) *Plugin {
	t.Helper()
	p := open(t, o)
	if err := p.Compile(context.Background()); err != nil {
		t.Fatal(err)
	}
	return p
}

// hold keeps the compiler of a plugin from beginning until release is called, or the test ends.
func hold(t testing.TB, p *Plugin) (release func()) {
	t.Helper()
	c := &compiler{done: make(chan struct{}), stop: func() {}}
	p.compiler = c
	release = sync.OnceFunc(func() {
		defer close(c.done)
		var compiled *tier
		if compiled, c.err = p.kept.tier(context.Background(), p.module); c.err == nil {
			p.pool.replace(context.Background(), compiled)
		}
	})
	t.Cleanup(release)
	return release
}

// services are the host's as tests have them. The zero value denies everything.
type services struct {
	do func(ctx context.Context, op abi.HostOp, request []byte) []byte

	mu   sync.Mutex
	logs []string
}

func (s *services) Do(ctx context.Context, op abi.HostOp, request []byte) []byte {
	if s.do != nil {
		return s.do(ctx, op, request)
	}
	return abi.Fail(&sdk.Error{Code: sdk.CodeDenied, Message: "not granted"})
}

func (s *services) Log(level sdk.Level, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs = append(s.logs, string(level)+": "+text)
}

func (s *services) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.logs, "\n")
}

var _ transport.Services = (*services)(nil)

// Operations of the probe.
const (
	opEcho        = 100
	opPanic       = 101
	opExit        = 102
	opLoop        = 103
	opSleep       = 104
	opBomb        = 105
	opHost        = 106
	opLength      = 107
	opCopy        = 108
	opSplice      = 109
	opFlood       = 110
	opPrint       = 111
	opCount       = 112
	opGarbage     = 113
	opEnvironment = 114
	opRecurse     = 115
	opKeep20MiB   = 116
	opClosed      = 117
	opClock       = 118
)
