package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

func call(t testing.TB, p *Plugin, op abi.Op, request string) string {
	t.Helper()
	answer, err := p.Call(t.Context(), op, []byte(request), nil)
	if err != nil {
		t.Fatalf("operation %d: %v\n%s", op, err, detail(err))
	}
	return string(answer)
}

func detail(err error) string {
	if e, ok := errors.AsType[*sdk.Error](err); ok {
		return e.Detail
	}
	return ""
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	p := warm(t, Options{Hello: []byte("round trip")})
	hello, err := p.Hello(t.Context())
	if err != nil || string(hello) != `{"ok":"round trip"}` {
		t.Fatalf("Hello = %s, %v", hello, err)
	}
	for _, request := range []string{"x", strings.Repeat("0123456789abcdef", 64<<10), "\x00\xff"} {
		if got := call(t, p, opEcho, request); got != request {
			t.Errorf("echo of %d bytes: got %d", len(request), len(got))
		}
	}
}

// TestSDK has a plugin as an author writes it, through the client that the host uses.
func TestSDK(t *testing.T) {
	t.Parallel()
	request := abi.AppendHelloRequest(nil, &abi.HelloRequest{ABI: abi.Version, Host: "trowel test", Name: "hello", Kind: sdk.KindInstruction})
	p := warm(t, Options{Module: build(t, "hello"), Hello: request, Purity: transport.Deterministic})
	handler := abi.NewClient(p).Instruction()
	instructions, err := handler.Describe(t.Context())
	if err != nil || len(instructions) != 1 || instructions[0].Keyword != "HELLO" {
		t.Fatalf("Describe = %+v, %v", instructions, err)
	}
	plan, err := handler.Plan(t.Context(), sdk.Call{Keyword: "HELLO", Args: []string{"world"}, Workdir: "/", Platform: "linux/amd64"})
	if err != nil || len(plan.Effects) != 1 || string(plan.Effects[0].Write.Content) != "hello world\n" {
		t.Fatalf("Plan = %+v, %v", plan, err)
	}
}

func TestEveryInstanceIsGreeted(t *testing.T) {
	t.Parallel()
	p := warm(t, Options{Hello: []byte("refuse")})
	for range 2 {
		answer, err := p.Call(t.Context(), opEcho, []byte("x"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := abi.Result(answer); err == nil || !strings.Contains(err.Error(), "bucket is missing") {
			t.Errorf("a plugin that refused its configuration answered %s", answer)
		}
	}
	if hello, err := p.Hello(t.Context()); err != nil || !strings.Contains(string(hello), "bucket is missing") {
		t.Errorf("Hello = %s, %v", hello, err)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	limits := transport.Limits{Memory: 32 << 20, Timeout: 400 * time.Millisecond, Start: time.Second, Instances: 1}
	for _, tt := range []struct {
		name    string
		op      abi.Op
		hello   string
		memory  int64
		code    sdk.ErrorCode
		message string
		detail  string
	}{
		{name: "panic", op: opPanic, code: sdk.CodeCrashed, message: `plugin "guest" crashed: panic: on request`, detail: "goroutine "},
		{name: "exit", op: opExit, code: sdk.CodeCrashed, message: "exited with status 7"},
		{name: "loop", op: opLoop, code: sdk.CodeTimeout, message: "did not answer within 400ms: raise limits.timeout"},
		{name: "sleep", op: opSleep, code: sdk.CodeTimeout, message: "did not answer within 400ms: raise limits.timeout"},
		{name: "bomb", op: opBomb, code: sdk.CodeLimit, message: `limits.memory = "32 MiB"`, detail: "out of memory"},
		{name: "recursion", op: opRecurse, memory: 8 << 20, code: sdk.CodeLimit, message: "limits.memory"},
		{name: "flood", op: opFlood, code: sdk.CodeLimit, message: "more than 16 MiB"},
		{name: "no answer", op: 99, code: sdk.CodeInternal, message: "gave no answer to operation 99"},
		{name: "loop at start", op: opEcho, hello: "loop", code: sdk.CodeTimeout, message: "was not ready within the 1s"},
		{name: "panic at start", op: opEcho, hello: "panic", code: sdk.CodeCrashed, message: "panic: at start", detail: "panic: at start"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			own := limits
			if tt.memory != 0 {
				own.Memory, own.Timeout = tt.memory, 20*time.Second
			}
			p := warm(t, Options{Hello: []byte(tt.hello), Limits: own})
			start := time.Now()
			_, err := p.Call(t.Context(), tt.op, nil, nil)
			took := time.Since(start)
			e, ok := errors.AsType[*sdk.Error](err)
			if !ok || e.Code != tt.code || !strings.Contains(e.Message, tt.message) || !strings.Contains(e.Detail, tt.detail) {
				t.Fatalf("error %#v\nwant code %s, message … %s …, detail … %s …", err, tt.code, tt.message, tt.detail)
			}
			if took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			if len(e.Detail) > maxTail+64 {
				t.Errorf("the detail has %d bytes", len(e.Detail))
			}
			if tt.hello != "" {
				return
			}
			// There is a new instance, whose count begins anew, in spite of there being one seat.
			if got := call(t, p, opCount, ""); got != "1" {
				t.Errorf("the next call was number %s of its instance", got)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	p := warm(t, Options{})
	call(t, p, opEcho, "x")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	_, err := p.Call(ctx, opSleep, nil, nil)
	if e, ok := errors.AsType[*sdk.Error](err); !ok || e.Code != sdk.CodeCancelled || time.Since(start) > 5*time.Second {
		t.Errorf("error %v after %v", err, time.Since(start))
	}
}

func TestTooLargeRequest(t *testing.T) {
	t.Parallel()
	_, err := open(t, Options{}).Call(t.Context(), opEcho, make([]byte, abi.MaxRequest+1), nil)
	if e, ok := errors.AsType[*sdk.Error](err); !ok || e.Code != sdk.CodeLimit {
		t.Errorf("error %v", err)
	}
}

func TestTieredStart(t *testing.T) {
	t.Parallel()
	p := open(t, Options{})
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
	release()
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

func TestPoolIsExclusive(t *testing.T) {
	t.Parallel()
	p := warm(t, Options{Limits: transport.Limits{Instances: 3, Timeout: time.Minute}})
	var wg sync.WaitGroup
	for worker := range 12 {
		wg.Go(func() {
			for n := range 40 {
				want := strings.Repeat(fmt.Sprintf("%d/%d ", worker, n), 1000)
				if got, err := p.Call(t.Context(), opEcho, []byte(want), nil); err != nil || string(got) != want {
					t.Errorf("worker %d call %d: %d bytes, %v", worker, n, len(got), err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := p.pool.current().instances; n < 1 || n > 3 {
		t.Errorf("%d instances", n)
	}
}

// TestMemoryStaysFlat makes calls that leave garbage behind, in more calls than one instance answers.
func TestMemoryStaysFlat(t *testing.T) {
	t.Parallel()
	p := warm(t, Options{Limits: transport.Limits{Instances: 1}})
	request := bytes.Repeat([]byte("x"), 64<<10)
	var most uint32
	for n := range 2000 {
		if _, err := p.Call(t.Context(), opGarbage, request, nil); err != nil {
			t.Fatalf("call %d: %v", n, err)
		}
		if n%100 == 50 {
			i := p.pool.take(false)
			most = max(most, i.module.Memory().Size())
			if want := n%maxCalls + 1; i.calls != want {
				t.Fatalf("after %d calls the instance has answered %d, want %d", n+1, i.calls, want)
			}
			p.pool.put(t.Context(), i)
		}
	}
	if most > 24<<20 {
		t.Errorf("memory grew to %d MiB", most>>20)
	}
}

func TestFullInstanceIsReplaced(t *testing.T) {
	t.Parallel()
	p := warm(t, Options{Limits: transport.Limits{Instances: 1, Memory: 30 << 20}})
	call(t, p, opKeep20MiB, "")
	if got := call(t, p, opCount, ""); got != "1" {
		t.Errorf("an instance with most of its memory used was asked again: call %s", got)
	}
}

func TestDeterministic(t *testing.T) {
	t.Parallel()
	observe := func(p *Plugin) string { return call(t, p, abi.OpPlan, "") }
	p := warm(t, Options{Purity: transport.Deterministic})
	first := observe(p)
	call(t, p, abi.OpDescribe, "x") // shares an instance, which no plan may get
	if again := observe(p); again != first {
		t.Errorf("two plans differ:\n%s\n%s", first, again)
	}
	interpreted := open(t, Options{Purity: transport.Deterministic})
	hold(t, interpreted)
	if got := observe(interpreted); got != first {
		t.Errorf("the interpreter's plan differs:\n%s\n%s", first, got)
	}
	ordinary := warm(t, Options{})
	if a, b := observe(ordinary), observe(ordinary); a == b {
		t.Errorf("two answers of an ordinary plugin are equal: %s", a)
	}
}

func TestOrdinaryClockIsReal(t *testing.T) {
	t.Parallel()
	p := warm(t, Options{})
	before := time.Now().UnixMilli()
	var wall, slept int64
	var random, other string
	if _, err := fmt.Sscan(call(t, p, opClock, ""), &wall, &slept, &random); err != nil {
		t.Fatal(err)
	}
	if after := time.Now().UnixMilli(); wall < before || wall > after || slept < 20 || slept > 5000 {
		t.Errorf("wall clock %d between %d and %d, slept %d ms", wall, before, after, slept)
	}
	if _, err := fmt.Sscan(call(t, p, opClock, ""), &wall, &slept, &other); err != nil || other == random {
		t.Errorf("randomness %s and %s, %v", random, other, err)
	}
}

func TestNothingOfTheHostShows(t *testing.T) {
	t.Parallel()
	if got, want := call(t, warm(t, Options{}), opEnvironment, ""), "args 0 env 0 stdin 0 true file true dir true wasip1"; got != want {
		t.Errorf("the guest sees %s\nwant %s", got, want)
	}
}

func TestOutputs(t *testing.T) {
	t.Parallel()
	s := &services{}
	call(t, warm(t, Options{Services: s}), opPrint, strings.Repeat("m", 5000))
	want := "debug: to stdout\ndebug: to stderr\nwarning: " + strings.Repeat("m", abi.MaxLog) + "\ndebug: and more"
	if got := s.logged(); got != want {
		t.Errorf("logged\n%s\nwant\n%s", got, want)
	}
}

func TestHostCalls(t *testing.T) {
	t.Parallel()
	type key struct{}
	s := &services{do: func(ctx context.Context, op abi.HostOp, request []byte) []byte {
		if op != abi.HostEnv || string(request) != "which" || ctx.Value(key{}) != "of the call" {
			return abi.Fail(fmt.Errorf("asked %d %q", op, request))
		}
		return abi.OK(bytes.Repeat([]byte("1"), 100<<10))
	}}
	answer, err := warm(t, Options{Services: s}).Call(context.WithValue(t.Context(), key{}, "of the call"), opHost, []byte("which"), nil)
	if err != nil || len(answer) != 100<<10+len(`{"ok":}`) {
		t.Errorf("answer %.80s, %v", answer, err)
	}
	denied := warm(t, Options{})
	if _, err := abi.Result([]byte(call(t, denied, opHost, "which"))); err == nil || sdk.AsError(err).Code != sdk.CodeDenied {
		t.Errorf("denial arrived as %v", err)
	}
	if got := call(t, denied, opCount, ""); got != "2" {
		t.Errorf("a denial cost the instance: call %s", got)
	}
}

// TestHangingService has a service that heeds no context: the call ends all the same, and Close when the service does.
func TestHangingService(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := &services{do: func(context.Context, abi.HostOp, []byte) []byte { <-release; return abi.OK([]byte("1")) }}
	p := warm(t, Options{Services: s, Limits: transport.Limits{Timeout: 100 * time.Millisecond}})
	start := time.Now()
	_, err := p.Call(t.Context(), opHost, nil, nil)
	if e, ok := errors.AsType[*sdk.Error](err); !ok || e.Code != sdk.CodeTimeout || time.Since(start) > 10*time.Second {
		t.Errorf("error %v after %v", err, time.Since(start))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.pool.sit(ctx); err != nil {
		t.Errorf("other seats are taken too: %v", err)
	}
	p.pool.leave()
	close(release)
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	const length = 64 << 20
	p := warm(t, Options{})
	for _, op := range []abi.Op{opCopy, opSplice} {
		source, sink := &pattern{left: length}, &pattern{left: length}
		answer, err := p.Call(t.Context(), op, nil, abi.Streams{1: source, 2: sink})
		if err != nil || string(answer) != fmt.Sprint(length) || sink.left != 0 || sink.wrong {
			t.Errorf("operation %d: answer %s, %v; %d bytes missing, wrong %t", op, answer, err, sink.left, sink.wrong)
		}
	}
	if answer, err := p.Call(t.Context(), opLength, nil, abi.Streams{1: &pattern{left: 12345}}); err != nil || string(answer) != "12345" {
		t.Errorf("length %s, %v", answer, err)
	}
	for name, streams := range map[string]abi.Streams{
		"none": nil, "of the other direction": {1: io.Discard}, "broken": {1: io.MultiReader(strings.NewReader("x"), broken{})},
	} {
		answer, err := p.Call(t.Context(), opLength, nil, streams)
		if _, resultErr := abi.Result(answer); err != nil || resultErr == nil {
			t.Errorf("stream %s: answer %s, %v", name, answer, err)
		}
	}
	answer, err := p.Call(t.Context(), opClosed, nil, abi.Streams{1: strings.NewReader("x")})
	if _, resultErr := abi.Result(answer); err != nil || resultErr == nil || !strings.Contains(resultErr.Error(), "closed") {
		t.Errorf("closed stream: %v, %v", resultErr, err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken") }

// pattern is a stream whose bytes depend on their position, to be read or to be written and checked.
type pattern struct {
	pos, left int
	wrong     bool
}

func (s *pattern) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(len(p), s.left)]
	for i := range p {
		p[i] = byte((s.pos + i) * 7 >> 3)
	}
	s.pos, s.left = s.pos+len(p), s.left-len(p)
	return len(p), nil
}

func (s *pattern) Write(p []byte) (int, error) {
	for i := range p {
		s.wrong = s.wrong || p[i] != byte((s.pos+i)*7>>3)
	}
	s.pos, s.left = s.pos+len(p), s.left-len(p)
	return len(p), nil
}

func TestClose(t *testing.T) {
	t.Parallel()
	p := warm(t, Options{})
	call(t, p, opEcho, "x")
	failed := make(chan error)
	go func() {
		_, err := p.Call(context.Background(), opLoop, nil, nil)
		failed <- err
	}()
	time.Sleep(50 * time.Millisecond)
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; sdk.AsError(err).Code != sdk.CodeCancelled {
		t.Errorf("a call in progress ended with %v", err)
	}
	if _, err := p.Call(t.Context(), opEcho, nil, nil); err == nil {
		t.Error("a closed plugin answered")
	}
	if err := p.Compile(t.Context()); err == nil {
		t.Error("a closed plugin compiled")
	}
	if err := p.Close(t.Context()); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// TestNoLeaks runs alone, so that the goroutines it counts are its own.
func TestNoLeaks(t *testing.T) { //nolint:paralleltest // see above
	round := func(cacheDir string) {
		p := open(t, Options{CacheDir: cacheDir, Limits: transport.Limits{Timeout: 100 * time.Millisecond, Memory: 32 << 20}})
		for _, op := range []abi.Op{opEcho, opPanic, opLoop, opSleep, opBomb, opEcho} {
			p.Call(t.Context(), op, []byte("x"), nil)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	warm(t, Options{})
	count := func() (goroutines, files, mappings int) {
		runtime.GC()
		fds, _ := os.ReadDir("/proc/self/fd")
		maps, _ := os.ReadFile("/proc/self/maps")
		return runtime.NumGoroutine(), len(fds), bytes.Count(maps, []byte("\n"))
	}
	round("")
	goroutines, files, mappings := count()
	round("")
	round(filepath.Join(t.TempDir(), "cold")) // its compiler is stopped
	round("")
	time.Sleep(50 * time.Millisecond)
	if g, f, m := count(); g > goroutines || f > files || m > mappings+20 {
		t.Errorf("goroutines %d → %d, files %d → %d, mappings %d → %d", goroutines, g, files, f, mappings, m)
	}
}
