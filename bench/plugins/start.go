package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trowel-build/trowel/host/plugin/author"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/host/plugin/wasm"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// startRounds is how often each start is timed.
const startRounds = 15

// starts times what passes until a plugin has answered its first call: where it never ran before, and where an earlier build left
// it compiled. A plugin that never ran answers while it is still being compiled; that time is beside it.
func (b *bench) starts(ctx context.Context) error {
	b.report.table("start, until the first call is answered", "plugin", "cold p50", "warm p50", "warm p99", "compiled after", "target")
	for _, s := range b.plugins {
		if s.missing != nil {
			b.report.row(s.name, "not measured")
			continue
		}
		if s.target == author.Native {
			warm, err := s.timeStarts(ctx, func() (*wasm.Engine, error) { return nil, nil })
			if err != nil {
				return err
			}
			b.report.row(s.name, "the same", inMillis(percentile(warm, 50)), inMillis(percentile(warm, 99)), "", "")
			continue
		}
		if err := b.startModule(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) startModule(ctx context.Context, s *subject) error {
	cold, err := s.timeStarts(ctx, func() (*wasm.Engine, error) {
		dir, err := b.newDir("empty")
		if err != nil {
			return nil, err
		}
		return wasm.NewEngine(dir)
	})
	if err != nil {
		return err
	}
	dir, err := b.newDir("compiled")
	if err != nil {
		return err
	}
	took, err := s.timeCompile(ctx, dir)
	if err != nil {
		return err
	}
	warm, err := s.timeStarts(ctx, func() (*wasm.Engine, error) { return wasm.NewEngine(dir) })
	if err != nil {
		return err
	}
	b.report.row(s.name, inMillis(percentile(cold, 50)), inMillis(percentile(warm, 50)), inMillis(percentile(warm, 99)), inMillis(took), "warm ≤ 60 ms")
	return nil
}

// timeStarts opens a plugin, asks it something and closes it, some times.
func (s *subject) timeStarts(ctx context.Context, engine func() (*wasm.Engine, error)) ([]time.Duration, error) {
	var times []time.Duration
	for range startRounds {
		e, err := engine()
		if err != nil {
			return nil, err
		}
		started := time.Now()
		conn, err := s.open(settings{engine: e, purity: purityOf(s)})
		if err != nil {
			return nil, err
		}
		_, err = abi.NewClient(conn).Instruction().Describe(ctx)
		times = append(times, time.Since(started))
		if err := errors.Join(err, conn.Close(ctx)); err != nil {
			return nil, err
		}
	}
	return times, nil
}

// purityOf is that of an instruction plugin in a build.
func purityOf(s *subject) transport.Purity {
	if s.target == author.Native {
		return transport.Ordinary
	}
	return transport.Deterministic
}

// timeCompile times the compiler, which leaves what it makes in dir.
func (s *subject) timeCompile(ctx context.Context, dir string) (time.Duration, error) {
	engine, err := wasm.NewEngine(dir)
	if err != nil {
		return 0, err
	}
	conn, err := s.open(settings{engine: engine})
	if err != nil {
		return 0, err
	}
	module, ok := conn.(*wasm.Plugin)
	if !ok {
		return 0, fmt.Errorf("%s is no module", s.name)
	}
	started := time.Now()
	err = module.Compile(ctx)
	return time.Since(started), errors.Join(err, module.Close(ctx))
}

// use is a call such as a build makes.
func use() sdk.Call {
	return sdk.Call{
		Keyword: "GREETING", Args: []string{"world", "/etc/greeting"}, Workdir: "/", Platform: "linux/amd64",
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}, Shell: []string{"/bin/sh", "-c"},
	}
}
