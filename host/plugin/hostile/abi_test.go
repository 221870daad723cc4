package hostile_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/plugin"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/host/plugin/wasm"
	"github.com/trowel-build/trowel/sdk"
)

func testPointers(t *trial) {
	t.Parallel()
	s := load(t, spec("pointers", sdk.KindCredential))
	const functions = 13
	if got, want := s.answers("x"), strings.TrimSpace(strings.Repeat("refused ", functions)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	t.happens("each call of a host function returns a negated errno; nothing outside is read or written")
	s.works()
}

func testFlood(t *trial) {
	t.Parallel()
	s := load(t, spec("flood", sdk.KindCredential))
	_, err := s.ask("answer")
	t.fails(err, sdk.CodeLimit, "16 MiB")
	begin := time.Now()
	for _, way := range []string{"log", "print"} {
		t.within(soon, func() {
			if got := s.answers(way); got != "done" {
				t.Errorf("got %q", got)
			}
		})
	}
	s.works()
	ctx, cancel := background()
	defer cancel()
	must(t, s.set.Close(ctx))
	lines := strings.Count(s.heard(), "plugin hostile: flood")
	if most := 200 * (int(time.Since(begin).Seconds()) + 2); lines < 100 || lines > most || !strings.Contains(s.heard(), "more messages dropped: a plugin may log 200 lines a second") {
		t.Errorf("of 40,000 lines, %d were shown: %.300s", lines, s.heard())
	}
	t.happens("200 lines a second are shown and the others counted")
}

// damaged are bytes that are no plugin, and what is said of them.
func damaged() []struct {
	name, says string
	module     []byte
} {
	good := polite().encode()
	foreign, unknown, old := polite(), polite(), polite()
	foreign.imports = append(foreign.imports, [2]string{"env", "system"})
	unknown.imports = append(unknown.imports, [2]string{"wasi_snapshot_preview1", "sock_open"})
	old.imports = append(old.imports, [2]string{"trowel_v1", "exec"})
	return []struct {
		name, says string
		module     []byte
	}{
		{"empty", "neither a WebAssembly module nor an ELF program", nil},
		{"text", "neither a WebAssembly module nor an ELF program", []byte("#!/bin/sh\nrm -rf /\n")},
		{"component", "component", []byte("\x00asm\x0d\x00\x01\x00")},
		{"40 MiB", "at most 32 MiB", append(append(bytes.Clone(good), 0), sized(append(named("padding"), make([]byte, 40<<20)...))...)},
		{"foreign import", `imports "env.system"`, foreign.encode()},
		{"unknown WASI", `imports "wasi_snapshot_preview1.sock_open"`, unknown.encode()},
		{"unknown host function", `imports "trowel_v1.exec"`, old.encode()},
		{"another ABI", "speaks version 2", bytes.Replace(good, []byte("trowel_abi_1"), []byte("trowel_abi_2"), 1)},
		{"no plugin", "exports no function trowel_call", bytes.Replace(good, []byte("trowel_call"), []byte("trowel_c@ll"), 1)},
	}
}

func testBytes(t *trial) {
	t.Parallel()
	s := newSite(t)
	for _, d := range damaged() {
		err := s.load(plugin.Spec{Kind: sdk.KindCredential, Source: "file:x", Match: []string{"*"}}, serving(d.module))
		if err == nil || !strings.Contains(err.Error(), d.says) || !strings.Contains(err.Error(), `"hostile"`) {
			t.Errorf("%s: %v, want … %s …", d.name, err, d.says)
		}
	}
	t.happens("each is refused by name and reason before any of it is compiled")
	good := polite().encode()
	t.within(30*time.Second, func() {
		for n := range good {
			survive(t, good[:n])
		}
		for n := 8; n < len(good); n++ { // behind the magic
			flipped := bytes.Clone(good)
			flipped[n] ^= 1 << (n % 8)
			survive(t, flipped)
		}
	})
	t.happens("what is damaged and still a module, or a program that runs, has an error or an answer in its time")
	must(t, s.load(plugin.Spec{Kind: sdk.KindCredential, Source: "file:x", Match: []string{"*"}}, serving(good)))
	s.works()
}

// serving gives the hostile plugin these bytes.
func serving(module []byte) func(o *plugin.Options) {
	return func(o *plugin.Options) {
		files := o.Program
		o.Program = func(ctx context.Context, name string, spec plugin.Spec) ([]byte, error) {
			if name == "hostile" {
				return module, nil
			}
			return files(ctx, name, spec)
		}
	}
}

// survive opens and asks a module of which nothing is known.
func survive(t testing.TB, module []byte) {
	t.Helper()
	limits := transport.Limits{Start: 200 * time.Millisecond, Timeout: 200 * time.Millisecond, Memory: 1 << 20, Instances: 1}
	p, err := wasm.Open(wasm.Options{Name: "hostile", Module: module, Hello: []byte("{}"), Limits: limits, Services: nobody{}})
	if err == nil {
		_, err = p.Hello(t.Context())
		ctx, cancel := background()
		defer cancel()
		must(t, p.Close(ctx))
	}
	if err != nil && (sdk.AsError(err).Code == sdk.CodeInternal || !strings.Contains(err.Error(), `plugin "hostile"`)) {
		t.Errorf("%x: %v, which is none of its own errors", module, err)
	}
}

// FuzzModule opens and asks anything; its seeds run with the other tests.
func FuzzModule(f *testing.F) {
	f.Add(polite().encode())
	f.Add(handmade{call: endless, initialize: itself}.encode())
	for _, d := range damaged() {
		if len(d.module) < 1<<20 {
			f.Add(d.module)
		}
	}
	f.Fuzz(func(t *testing.T, module []byte) { survive(t, module) })
}
