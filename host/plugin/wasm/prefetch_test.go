package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// prefetching is an engine that has begun to load the probe's code, which is right or not.
func prefetching(t *testing.T, code []byte) (e *Engine, opened *atomic.Int64, module string) {
	t.Helper()
	build(t, "probe")
	probe, err := os.ReadFile(filepath.Join(shared.dir, "probe.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(probe)
	module, opened = hex.EncodeToString(sum[:]), new(atomic.Int64)
	e, _ = carrying(t, code)
	e.Ahead = func(name, target string) func() (io.ReadCloser, error) {
		if name != module || target != Target() {
			return nil
		}
		return func() (io.ReadCloser, error) {
			opened.Add(1)
			return io.NopCloser(bytes.NewReader(code)), nil
		}
	}
	e.Prefetch(t.Context(), module)
	e.Prefetch(t.Context(), module) // is being loaded
	e.Prefetch(t.Context(), "another")
	return e, opened, module
}

// TestPrefetch: who opens the module gets what was loaded before, and the next one does not get it again.
func TestPrefetch(t *testing.T) {
	t.Parallel()
	e, opened, _ := prefetching(t, aheadCodeOf(t))
	for want := range int64(2) {
		p := open(t, Options{Engine: e, CompileAfter: time.Hour})
		if got := call(t, p, opEcho, "x"); got != "x" {
			t.Errorf("answer %q", got)
		}
		if now := p.pool.current(); now.interpreted || now.cache == nil || opened.Load() != want+1 {
			t.Errorf("opened %d times, interpreted %t", opened.Load(), now.interpreted)
		}
	}
	if err := e.Forget(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestPrefetchOfNoUse: a module whose code is of no use works as it would without.
func TestPrefetchOfNoUse(t *testing.T) {
	t.Parallel()
	code := aheadCodeOf(t)
	e, opened, _ := prefetching(t, code[:len(code)-len(code)/4])
	p := open(t, Options{Engine: e, CompileAfter: time.Hour})
	if got := call(t, p, opEcho, "x"); got != "x" || opened.Load() != 1 {
		t.Errorf("answer %q, opened %d times", got, opened.Load())
	}
}

// TestPrefetchInVain: what nobody takes is freed, and leaves nothing behind.
func TestPrefetchInVain(t *testing.T) {
	t.Parallel()
	e, _, module := prefetching(t, aheadCodeOf(t))
	f := e.prefetched[module]
	if err := e.Forget(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if f.err != nil || !f.tier.closed {
		t.Errorf("loaded: %v, freed: %t", f.err, f.tier.closed)
	}
	if left, err := os.ReadDir(e.dir); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}
