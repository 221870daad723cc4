package wasm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

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
func TestNoLeaks(t *testing.T) {
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

// TestBombTakesItsLimit measures the process, and so runs alone too.
func TestBombTakesItsLimit(t *testing.T) {
	const limit, slack = 128 << 10, 48 << 10 // KiB
	p := warm(t, Options{Limits: transport.Limits{Instances: 1, Memory: limit << 10}})
	call(t, p, opEcho, "x")
	before := resident(t, "VmRSS")
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // the peak begins anew
		t.Fatal(err)
	}
	if _, err := p.Call(t.Context(), opBomb, nil, nil); sdk.AsError(err).Code != sdk.CodeLimit {
		t.Fatal(err)
	}
	if peak := resident(t, "VmHWM") - before; peak > limit+slack {
		t.Errorf("it took %d MiB", peak>>10)
	}
	if after := resident(t, "VmRSS") - before; after > slack {
		t.Errorf("%d MiB are left", after>>10)
	}
}

// resident reads a size in KiB from the process's status.
func resident(t *testing.T, field string) (kib int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				t.Fatal(err)
			}
		}
	}
	return kib
}
