package wasm

import (
	"context"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// hello opens the plugin that an author writes in 20 lines.
func hello(b *testing.B, o Options) *Plugin {
	o.Module = build(b, "hello")
	o.Hello = abi.AppendHelloRequest(nil, &abi.HelloRequest{ABI: abi.Version, Name: "hello", Kind: sdk.KindInstruction})
	return open(b, o)
}

// percentiles reports the times that do takes, what it defers by calling later not included.
func percentiles(b *testing.B, do func(later func(f func() error)) error) {
	var after []func() error
	var times []time.Duration
	for b.Loop() {
		start := time.Now()
		if err := do(func(f func() error) { after = append(after, f) }); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
		for _, f := range after {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
		after = nil
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1e6, "p50-ms")
	b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds())/1e6, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkStart has what passes until a plugin has answered its first call.
func BenchmarkStart(b *testing.B) {
	for name, prepare := range map[string]func(dir string) error{
		"interpreted": func(string) error { return nil },
		"stored": func(dir string) error {
			p := hello(b, Options{CacheDir: dir})
			return p.Compile(b.Context())
		},
	} {
		b.Run(name, func(b *testing.B) {
			shared := filepath.Join(b.TempDir(), "cache")
			if err := prepare(shared); err != nil {
				b.Fatal(err)
			}
			percentiles(b, func(later func(func() error)) error {
				o := Options{CacheDir: shared}
				if name == "interpreted" {
					o = Options{Engine: newEngine(b)}
				}
				p := hello(b, o)
				later(func() error { return p.Close(context.Background()) })
				_, err := abi.NewClient(p).Instruction().Describe(b.Context())
				return err
			})
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	percentiles(b, func(later func(func() error)) error {
		p := hello(b, Options{Engine: newEngine(b)})
		later(func() error { return p.Close(context.Background()) })
		return p.Compile(b.Context())
	})
	b.ReportMetric(float64(len(build(b, "hello")))/1e6, "module-MB")
}

// BenchmarkCall is a control call through the client and the author's side of package sdk.
func BenchmarkCall(b *testing.B) {
	p := hello(b, Options{})
	if err := p.Compile(b.Context()); err != nil {
		b.Fatal(err)
	}
	handler := abi.NewClient(p).Instruction()
	use := sdk.Call{Keyword: "HELLO", Args: []string{"world"}, Workdir: "/", Platform: "linux/amd64", Env: slices.Repeat([]string{"PATH=/usr/local/bin:/usr/bin"}, 4)}
	percentiles(b, func(func(func() error)) error { _, err := handler.Plan(b.Context(), use); return err })
}

// BenchmarkFreshInstance is a deterministic plan: an instance is made, greeted, asked and ended.
func BenchmarkFreshInstance(b *testing.B) {
	p := hello(b, Options{Purity: transport.Deterministic})
	if err := p.Compile(b.Context()); err != nil {
		b.Fatal(err)
	}
	handler := abi.NewClient(p).Instruction()
	percentiles(b, func(func(func() error)) error {
		_, err := handler.Plan(b.Context(), sdk.Call{Keyword: "HELLO", Args: []string{"world"}})
		return err
	})
}

// BenchmarkStream moves 64 MiB through a module and past it.
func BenchmarkStream(b *testing.B) {
	p := open(b, Options{})
	if err := p.Compile(b.Context()); err != nil {
		b.Fatal(err)
	}
	for name, op := range map[string]abi.Op{"copy": opCopy, "splice": opSplice} {
		b.Run(name, func(b *testing.B) {
			const length = 64 << 20
			b.SetBytes(length)
			for b.Loop() {
				streams := abi.Streams{1: io.LimitReader(zeros{}, length), 2: struct{ io.Writer }{io.Discard}}
				if _, err := p.Call(context.Background(), op, nil, streams); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
