package wasm

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

func TestInspect(t *testing.T) {
	t.Parallel()
	e := assembled(i32(0), encodedImport{"trowel_v1", "input", 3, 1})
	e.extra = section(0, slices.Concat(text("trowel.manifest"), []byte("{}")))
	info, err := Inspect(e.encode())
	if err != nil {
		t.Fatal(err)
	}
	got := []any{info.ABIs, info.Imports, info.Exports, info.Memory, string(info.Custom["trowel.manifest"])}
	want := []any{[]int{1}, []string{"trowel_v1.input"}, []string{"trowel_abi_1", "trowel_call", "memory"}, int64(64 << 10), "{}"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if info, err = Inspect(build(t, "hello")); err != nil || !slices.Contains(info.Exports, "_initialize") || info.check(64<<20) != nil {
		t.Errorf("a plugin in Go: %+v, %v", info.Exports, err)
	}
}

func TestRefusedModules(t *testing.T) {
	t.Parallel()
	answer := i32(0)
	good := assembled(answer).encode()
	change := func(do func(e *encoder)) []byte {
		e := assembled(answer)
		do(&e)
		return e.encode()
	}
	importing := func(module, name string) []byte {
		return assembled(answer, encodedImport{module, name, 1, 1}).encode()
	}
	importedMemory := slices.Concat(good[:8], section(2, vector(slices.Concat(text("trowel_v1"), text("input"), []byte{2, 0, 1}))))
	for _, tt := range []struct {
		name, message string
		module        []byte
		code          sdk.ErrorCode
	}{
		{"empty", "it is no WebAssembly module", nil, sdk.CodeInvalid},
		{"text", "it is no WebAssembly module", []byte("#!/bin/sh\necho"), sdk.CodeInvalid},
		{"component", "it is a component", []byte("\x00asm\x0d\x00\x01\x00"), sdk.CodeUnsupported},
		{"version", "WebAssembly of version 2", []byte("\x00asm\x02\x00\x00\x00"), sdk.CodeUnsupported},
		{"large", "at most 32 MiB", make([]byte, MaxModule+1), sdk.CodeLimit},
		{"cut", "it ends early", good[:len(good)-2], sdk.CodeInvalid},
		{"no sections", "it is no plugin", good[:8], sdk.CodeInvalid},
		{"foreign import", `imports "env.system"`, importing("env", "system"), sdk.CodeInvalid},
		{"unknown host function", `imports "trowel_v1.exec"`, importing("trowel_v1", "exec"), sdk.CodeInvalid},
		{"unknown WASI function", `imports "wasi_snapshot_preview1.sock_open"`, importing("wasi_snapshot_preview1", "sock_open"), sdk.CodeInvalid},
		{"imported memory", `imports "trowel_v1.input (a memory)"`, importedMemory, sdk.CodeInvalid},
		{"no ABI", "exports no function trowel_abi_1", change(func(e *encoder) { e.functions = e.functions[1:] }), sdk.CodeInvalid},
		{"another ABI", "speaks version 2 of the plugin interface and this trowel speaks version 1", change(func(e *encoder) { e.functions[0].name = "trowel_abi_2" }), sdk.CodeUnsupported},
		{"no call", "exports no function trowel_call", change(func(e *encoder) { e.functions = e.functions[:1] }), sdk.CodeInvalid},
		{"no memory", "exports no memory", change(func(e *encoder) { e.hidden = true }), sdk.CodeInvalid},
		{"much memory", "needs 128 MiB of memory to start and limits.memory is 64 MiB", change(func(e *encoder) { e.memory = 2048 }), sdk.CodeLimit},
		{"program", "-buildmode=c-shared", change(func(e *encoder) { e.functions = append(e.functions, encodedFunction{name: "_start"}) }), sdk.CodeInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Open(Options{Name: "x", Module: tt.module, Services: &services{}})
			e, ok := errors.AsType[*sdk.Error](err)
			if !ok || e.Code != tt.code || !strings.Contains(e.Message, tt.message) || !strings.HasPrefix(e.Message, `plugin "x": `) {
				t.Errorf("error %#v, want %s: …%s…", err, tt.code, tt.message)
			}
		})
	}
	if p, err := Open(Options{Name: "x", Module: good, Services: &services{}}); err != nil {
		t.Errorf("a good module: %v", err)
	} else if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestHostileModules(t *testing.T) {
	t.Parallel()
	// result makes trowel_call return what an import returned, which is in the message then.
	result := func(name string, params int, args ...int64) []byte {
		var code []byte
		for _, a := range args {
			code = append(code, i32(a)...)
		}
		return assembled(append(code, callTo, 0), encodedImport{"trowel_v1", name, params, 1}).encode()
	}
	starting := func(do func(e *encoder)) []byte {
		e := assembled(i32(0))
		do(&e)
		return e.encode()
	}
	endless := encodedFunction{name: "_initialize", code: forever}
	const short = 300 * time.Millisecond
	for _, tt := range []struct {
		name, message string
		module        []byte
		code          sdk.ErrorCode
	}{
		{"pointer outside", "returned -14", result("output", 2, -16, 1024), sdk.CodeUnsupported},
		{"2 GiB from a good pointer", "returned -14", result("output", 2, 0, 0x7fffffff), sdk.CodeUnsupported},
		{"length of -1", "returned -14", result("host", 3, 1, 0, -1), sdk.CodeUnsupported},
		{"request from beyond its end", "returned -22", result("input", 3, 0, 1<<20, 1), sdk.CodeUnsupported},
		{"reply without a call", "returned -22", result("reply", 3, 0, 1, 1), sdk.CodeUnsupported},
		{"unknown stream", "returned -9", result("stream_read", 3, 77, 0, 1), sdk.CodeUnsupported},
		{"trap", "crashed: unreachable", assembled([]byte{unreachable}).encode(), sdk.CodeCrashed},
		{"endless recursion", "crashed: stack overflow", assembled([]byte{localGet, 0, localGet, 0, callTo, 1}).encode(), sdk.CodeCrashed},
		{"loop when instantiated", "was not ready within 300ms", starting(func(e *encoder) { e.functions, e.start = append(e.functions, endless), "_initialize" }), sdk.CodeTimeout},
		{"loop in _initialize", "was not ready within 300ms", starting(func(e *encoder) { e.functions = append(e.functions, endless) }), sdk.CodeTimeout},
		{"invalid code", "the module is invalid", assembled([]byte{localGet, 9}).encode(), sdk.CodeInvalid},
		{"another type", "must have the type (i32, i32) -> i32", starting(func(e *encoder) { e.functions[1].params = 3 }), sdk.CodeInvalid},
		{"no answer", "gave no answer to operation 1", assembled(i32(0)).encode(), sdk.CodeInternal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			limits := transport.Limits{Start: time.Minute}
			if tt.code == sdk.CodeTimeout {
				limits.Start = short
			}
			p := open(t, Options{Name: "x", Module: tt.module, Limits: limits, Engine: newEngine(t)})
			for range 2 {
				start := time.Now()
				_, err := p.Hello(t.Context())
				e, ok := errors.AsType[*sdk.Error](err)
				if !ok || e.Code != tt.code || !strings.Contains(e.Message, tt.message) {
					t.Errorf("error %#v, want %s: …%s…", err, tt.code, tt.message)
				}
				if took := time.Since(start); took > 30*time.Second {
					t.Errorf("it took %v", took)
				}
			}
		})
	}
}

// TestUpperHalves calls a host function the way compiled code does, with anything in the upper halves of its arguments.
func TestUpperHalves(t *testing.T) {
	t.Parallel()
	p := warm(t, Options{})
	call(t, p, opEcho, "x")
	i := p.pool.take(false)
	defer p.pool.put(t.Context(), i)
	const noise = 0x7f05_0000_0000_0000
	s := newSession(p.services, 0, []byte("request"), nil)
	for _, function := range imports {
		if function.name != "input" {
			continue
		}
		if n := function.call(t.Context(), s, i.module.Memory(), []uint64{noise | 1024, noise | 2, noise | 3}); n != 3 {
			t.Errorf("copied %d bytes", n)
		}
	}
	if b, _ := i.module.Memory().Read(1024, 3); string(b) != "que" {
		t.Errorf("copied %q", b)
	}
}

// TestInterpreterIsBounded has what a call must not do done before the compiler is ready.
func TestInterpreterIsBounded(t *testing.T) {
	t.Parallel()
	p := open(t, Options{Limits: transport.Limits{Start: time.Minute, Memory: 8 << 20, Instances: 1}})
	hold(t, p)
	for _, tt := range []struct {
		op      abi.Op
		timeout time.Duration
		code    sdk.ErrorCode
	}{
		{opLoop, 100 * time.Millisecond, sdk.CodeTimeout},
		{opSleep, 100 * time.Millisecond, sdk.CodeTimeout},
		{opBomb, time.Minute, sdk.CodeLimit},
		{opPanic, time.Minute, sdk.CodeCrashed},
	} {
		p.limits.Timeout = tt.timeout
		_, err := p.Call(t.Context(), tt.op, nil, nil)
		if sdk.AsError(err) == nil || sdk.AsError(err).Code != tt.code {
			t.Errorf("operation %d: %v, want %s", tt.op, err, tt.code)
		}
		p.limits.Timeout = time.Minute
		if got := call(t, p, opCount, ""); got != "1" || !p.pool.current().interpreted {
			t.Errorf("operation %d: the next call was number %s", tt.op, got)
		}
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(assembled(i32(0), encodedImport{"trowel_v1", "input", 3, 1}).encode())
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x02\x02\xff\x7f"))
	f.Fuzz(func(_ *testing.T, module []byte) {
		if info, err := Inspect(module); err == nil {
			_ = info.check(1 << 20)
		}
	})
}
