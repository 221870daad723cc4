package hostile_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/plugin"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/host/plugin/wasm"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

const short = 300 * time.Millisecond

// soon is how long what has a limit of 300 ms may take on a machine that has much to do, or under the race detector.
const soon = 30 * time.Second

// opened is a module below the level of [plugin.Load], with limits that the user cannot set, and with services of its own.
func opened(t *trial, module []byte, limits transport.Limits, services transport.Services, config map[string]any) *wasm.Plugin {
	t.Helper()
	hello := abi.AppendHelloRequest(nil, &abi.HelloRequest{
		ABI: abi.Version, Host: "trowel test", Name: "hostile", Kind: sdk.KindCredential, Config: config,
	})
	p, err := wasm.Open(wasm.Options{Name: "hostile", Module: module, Hello: hello, Limits: limits, Services: services})
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := background()
		defer cancel()
		must(t, p.Close(ctx))
	})
	return p
}

func bytesOf(t testing.TB, module string) []byte {
	t.Helper()
	b, err := os.ReadFile(program(module, "wasm"))
	must(t, err)
	return b
}

func testLoop(t *trial) {
	t.Parallel()
	sp := spec("loop", sdk.KindCredential)
	sp.Limits.Timeout = short
	s := load(t, sp)
	t.within(soon, func() {
		_, err := s.ask("x")
		t.fails(err, sdk.CodeTimeout, "300ms", "limits.timeout")
	})
	s.works()
	for _, start := range []struct {
		module []byte
		config map[string]any
	}{
		{bytesOf(t, "loop"), map[string]any{"at-start": true}},
		{handmade{call: []byte{opConst, 0}, initialize: endless}.encode(), nil},
	} {
		p := opened(t, start.module, transport.Limits{Start: short}, nobody{}, start.config)
		t.within(soon, func() {
			_, err := p.Hello(t.Context())
			t.fails(err, sdk.CodeTimeout, "was not ready within 300ms")
		})
	}
	t.happened = t.happened[:2] // the two starts say the same
	s.works()
	native := trusted(sp, "loop")
	s = load(t, native)
	t.within(soon, func() {
		_, err := s.ask("x")
		t.refused(err, sdk.CodeTimeout, `plugin "hostile"`, "300ms", "limits.timeout")
	})
	t.happens("a process is killed")
	s.works()

	s = load(t, plugin.Spec{Kind: sdk.KindCache, Source: sp.Source, Limits: sp.Limits})
	b := newBench(t, s)
	write(t, b.context, "Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")
	t.within(2*soon, func() {
		_, err := b.build()
		must(t, err)
	})
	if shown := b.shown.String(); !strings.Contains(shown, `cache "hostile"`) || !strings.Contains(shown, "did not answer within 300ms") {
		t.Errorf("the build says nothing of its cache: %s", shown)
	}
	t.happens("a build goes on without such a cache, with a warning")
	s.works()
}

func testSleeper(t *trial) {
	t.Parallel()
	sp := spec("sleeper", sdk.KindCredential)
	sp.Limits.Timeout = short
	s := load(t, sp)
	t.within(soon, func() {
		_, err := s.ask("x")
		t.fails(err, sdk.CodeTimeout, "300ms", "limits.timeout")
	})
	s.works()
}

func testBlocking(t *trial) {
	t.Parallel()
	s := load(t, spec("fifo", sdk.KindInstruction))
	b := newBench(t, s)
	must(t, unix.Mkfifo(filepath.Join(b.context, "pipe"), 0o600))
	write(t, b.context, "Dockerfile", "FROM scratch\nFIFO pipe\n")
	t.within(soon, func() {
		_, err := b.build()
		t.fails(err, sdk.CodeInvalid, "pipe")
	})
	s.works()

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer silent.Close()
	sp := spec("fifo", sdk.KindCredential)
	sp.Allow.Hosts = []string{"http://" + silent.Addr().String()}
	sp.Limits = plugin.Limits{Timeout: short, Instances: 1}
	s = load(t, sp)
	for range 2 {
		t.within(soon, func() {
			_, err := s.ask("http://" + silent.Addr().String())
			t.fails(err, sdk.CodeTimeout, "limits.timeout")
		})
	}
	t.happened = t.happened[:2]
	s.works()
}
