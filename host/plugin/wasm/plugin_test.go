package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
		{name: "loop at start", op: opEcho, hello: "loop", code: sdk.CodeTimeout, message: "was not ready within 1s"},
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
	var seen []string
	for range 2 { // of the first instances of two plugins
		p := warm(t, Options{})
		before := time.Now().UnixMilli()
		var wall, slept int64
		var random string
		if _, err := fmt.Sscanf(call(t, p, opClock, ""), "%d %d %q", &wall, &slept, &random); err != nil {
			t.Fatal(err)
		}
		if after := time.Now().UnixMilli(); wall < before || wall > after || slept < 20 || slept > 5000 {
			t.Errorf("wall clock %d between %d and %d, slept %d ms", wall, before, after, slept)
		}
		seen = append(seen, random)
	}
	if seen[0] == seen[1] {
		t.Errorf("two instances have the same randomness %q", seen[0])
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
