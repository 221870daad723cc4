package process_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/plugin/process"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// The plugins of testdata are built once, into built.
var (
	launcher *executor.Launcher
	built    string
)

// envHost is set in a process that is a host until it is killed: see TestHostKilled.
const envHost = "TROWEL_TEST_HOST"

func TestMain(m *testing.M) {
	launcher = executor.Main()
	if program := os.Getenv(envHost); program != "" {
		os.Exit(beHost(program))
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	var err error
	if built, err = os.MkdirTemp("", "plugins"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(built)
	build := exec.Command("go", "build", "-o", built, "./testdata/raw", "./testdata/native", "./testdata/author", "./testdata/outsider")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the plugins: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// The operations of testdata/raw.
const (
	opEcho abi.Op = 1000 + iota
	opHost
	opRead
	opWrite
	opCopy
	opExit
	opLoop
	opWait
	opLook
	opChild
	opPrint
	opLog
	opLarge
	opMemory
	opFlood
)

// services are the host as plugins of these tests find it.
type services struct {
	answer func(ctx context.Context, op abi.HostOp, request []byte) []byte

	mu   sync.Mutex
	logs []string
}

func (s *services) Do(ctx context.Context, op abi.HostOp, request []byte) []byte {
	if s.answer != nil {
		return s.answer(ctx, op, request)
	}
	return fmt.Appendf(nil, "%d %s", op, request)
}

func (s *services) Log(level sdk.Level, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs = append(s.logs, string(level)+" "+text)
}

// logged waits until something was logged, so many times.
func (s *services) logged(t *testing.T, want string, times int) {
	t.Helper()
	eventually(t, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		got := 0
		for _, l := range s.logs {
			if l == want {
				got++
			}
		}
		if got != times {
			return fmt.Errorf("%q was logged %d times, want %d, in %q", want, got, times, s.logs)
		}
		return nil
	})
}

// eventually waits for what happens a moment later.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// digest is the digest of a file.
func digest(t testing.TB, file string) sdk.Digest {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	sum := sha256.Sum256(text)
	return sdk.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// open prepares one of the plugins of testdata.
func open(t testing.TB, name string, change func(o *process.Options)) *process.Plugin {
	t.Helper()
	file := filepath.Join(built, name)
	o := process.Options{Name: name, File: file, Digest: digest(t, file), Hello: []byte(`"hello"`), Services: &services{}}
	var err error
	o.Dir, err = os.MkdirTemp("", "p") // a socket has a short path
	must(t, err)
	made := o.Dir
	t.Cleanup(func() { os.RemoveAll(made) })
	if change != nil {
		change(&o)
	}
	p, err := process.Open(o)
	must(t, err)
	t.Cleanup(func() {
		if err := p.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p
}

func within(timeout time.Duration) func(o *process.Options) {
	return func(o *process.Options) { o.Limits = transport.Limits{Timeout: timeout} }
}

func call(t testing.TB, p *process.Plugin, op abi.Op, request string) (string, error) {
	t.Helper()
	answer, err := p.Call(t.Context(), op, []byte(request), nil)
	return string(answer), err
}

func mustCall(t testing.TB, p *process.Plugin, op abi.Op, request string) string {
	t.Helper()
	answer, err := call(t, p, op, request)
	if err != nil {
		t.Fatalf("operation %d: %v", op, err)
	}
	return answer
}

// wantError makes sure of an error's code and of what it says.
func wantError(t testing.TB, err error, code sdk.ErrorCode, says ...string) {
	t.Helper()
	coded, ok := errors.AsType[*sdk.Error](err)
	if !ok || coded.Code != code {
		t.Fatalf("got the error %#v (%v), want one of the code %s", err, err, code)
	}
	for _, s := range says {
		if !strings.Contains(coded.Message+"\n"+coded.Detail, s) {
			t.Errorf("the error %q with the detail %q does not say %q", coded.Message, coded.Detail, s)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
