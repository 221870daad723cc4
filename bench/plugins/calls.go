package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/trowel-build/trowel/host/plugin/author"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/host/plugin/wasm"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

const (
	callRounds   = 2000
	memoryRounds = 10_000
	settled      = 1000 // calls after which a garbage collector has seen what there is to see
)

// ready is a plugin that has answered before, compiled if it is a module.
func (b *bench) ready(ctx context.Context, s *subject, purity transport.Purity) (transport.Transport, *abi.RemoteInstruction, error) {
	dir, err := b.newDir("compiled")
	if err != nil {
		return nil, nil, err
	}
	engine, err := wasm.NewEngine(dir)
	if err != nil {
		return nil, nil, err
	}
	conn, err := s.open(settings{engine: engine, purity: purity})
	if err != nil {
		return nil, nil, err
	}
	if module, ok := conn.(*wasm.Plugin); ok {
		err = module.Compile(ctx)
	}
	handler := abi.NewClient(conn).Instruction()
	if err == nil {
		_, err = handler.Plan(ctx, use())
	}
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close(ctx))
	}
	return conn, handler, nil
}

// calls times a call that asks nothing of the host: what it costs to reach a plugin at all.
func (b *bench) calls(ctx context.Context) error {
	b.report.table("one call, of a plugin that runs", "plugin", "transport", "p50", "p99", "target")
	for _, s := range b.plugins {
		if s.missing != nil {
			b.report.row(s.name, "not measured")
			continue
		}
		purities := map[transport.Purity]string{transport.Ordinary: "an instance that lives"}
		if s.target == author.Native {
			purities[transport.Ordinary] = "gRPC, mutual TLS"
		} else {
			purities[transport.Deterministic] = "a fresh instance"
		}
		for _, purity := range []transport.Purity{transport.Ordinary, transport.Deterministic} {
			if purities[purity] == "" {
				continue
			}
			times, err := b.timeCalls(ctx, s, purity)
			if err != nil {
				return err
			}
			target := "p50 ≤ 1 ms"
			if purity == transport.Deterministic {
				target = "p50 ≤ 7 ms"
			}
			b.report.row(s.name, purities[purity], inMillis(percentile(times, 50)), inMillis(percentile(times, 99)), target)
		}
	}
	return nil
}

func (b *bench) timeCalls(ctx context.Context, s *subject, purity transport.Purity) ([]time.Duration, error) {
	conn, handler, err := b.ready(ctx, s, purity)
	if err != nil {
		return nil, err
	}
	times := make([]time.Duration, callRounds)
	for i := range times {
		started := time.Now()
		if _, err := handler.Plan(ctx, use()); err != nil {
			return nil, errors.Join(err, conn.Close(ctx))
		}
		times[i] = time.Since(started)
	}
	return times, conn.Close(ctx)
}

// memory has what is resident when things have settled and after ten thousand calls: of this process, which holds the modules' memory,
// and of a plugin that is a process.
func (b *bench) memory(ctx context.Context) error {
	b.report.table(fmt.Sprintf("memory after %d calls", memoryRounds), "plugin", fmt.Sprintf("after %d", settled), "after all", "growth", "target")
	for _, s := range b.plugins {
		if s.missing != nil {
			b.report.row(s.name, "not measured")
			continue
		}
		for _, purity := range []transport.Purity{transport.Ordinary, transport.Deterministic} {
			name := s.name
			if purity == transport.Deterministic {
				if name += ", fresh instances"; s.target == author.Native {
					continue
				}
			}
			before, after, err := b.growth(ctx, s, purity)
			if err != nil {
				return err
			}
			b.report.row(name, inMiB(before), inMiB(after), inMiB(after-before), "flat")
		}
	}
	return nil
}

func (b *bench) growth(ctx context.Context, s *subject, purity transport.Purity) (before, after int64, err error) {
	conn, handler, err := b.ready(ctx, s, purity)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	for i := range memoryRounds {
		if i == settled {
			if before, err = resident(s); err != nil {
				return 0, 0, err
			}
		}
		if _, err := handler.Plan(ctx, sdk.Call{Keyword: "GREETING", Args: []string{strconv.Itoa(i), "/etc/greeting"}}); err != nil {
			return 0, 0, err
		}
	}
	after, err = resident(s)
	return before, after, err
}

// resident is what the kernel has given: to this process once it returned what it does not use, or to its only child.
func resident(s *subject) (int64, error) {
	pid := "self"
	if s.target == author.Native {
		var err error
		if pid, err = onlyChild(); err != nil {
			return 0, err
		}
	}
	runtime.GC()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("read the memory of process %s: there is no VmRSS", pid)
}

func inMiB(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// onlyChild is the process that this one has started: any of its threads may have.
func onlyChild() (string, error) {
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return "", err
	}
	var children []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the thread ended
		}
		if err != nil {
			return "", err
		}
		children = append(children, strings.Fields(string(text))...)
	}
	if len(children) != 1 {
		return "", fmt.Errorf("find the plugin's process: there are %d children", len(children))
	}
	return children[0], nil
}
