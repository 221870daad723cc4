package process_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

const streamSize = 64 << 20

// A plugin reads much, and neither side holds it.
func TestRead(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	answer, err := p.Call(t.Context(), opRead, nil, abi.Streams{1: io.LimitReader(zeros{}, streamSize)})
	must(t, err)
	var n, peak int64
	_, err = fmt.Sscan(string(answer), &n, &peak)
	must(t, err)
	if n != streamSize {
		t.Errorf("the plugin read %d bytes, want %d", n, streamSize)
	}
	if peak > 40<<20 {
		t.Errorf("the plugin had %d MiB of memory", peak>>20)
	}
}

// A plugin writes much to a writer that is slow at first, and neither side holds it.
func TestWrite(t *testing.T) { // not parallel: it measures
	p := open(t, "raw", nil)
	var before, during runtime.MemStats
	mustCall(t, p, opEcho, "")
	runtime.GC()
	runtime.ReadMemStats(&before)
	var n int64
	slow := writeFunc(func(b []byte) (int, error) {
		if n == 0 {
			time.Sleep(200 * time.Millisecond)
			runtime.GC()
			runtime.ReadMemStats(&during)
		}
		n += int64(len(b))
		return len(b), nil
	})
	answer, err := p.Call(t.Context(), opWrite, fmt.Append(nil, streamSize), abi.Streams{2: slow})
	must(t, err)
	if n != streamSize {
		t.Errorf("the host got %d bytes, want %d", n, streamSize)
	}
	var peak int64
	_, err = fmt.Sscan(string(answer), &peak)
	must(t, err)
	if peak > 40<<20 {
		t.Errorf("the plugin had %d MiB of memory", peak>>20)
	}
	if grown := int64(during.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("the host held %d MiB while the writer slept", grown>>20)
	}
}

// What goes in comes out again, in both directions at once.
func TestCopy(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	in, out := sha256.New(), sha256.New()
	source := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), streamSize), in)
	answer, err := p.Call(t.Context(), opCopy, nil, abi.Streams{1: source, 2: onlyWriter(out)})
	must(t, err)
	if string(answer) != fmt.Sprint(streamSize) || !bytes.Equal(in.Sum(nil), out.Sum(nil)) {
		t.Errorf("%s bytes came out, and %x of %x", answer, out.Sum(nil), in.Sum(nil))
	}
}

func TestSourceFails(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	broken := io.MultiReader(strings.NewReader("some"), readFunc(func([]byte) (int, error) { return 0, errors.New("secret path") }))
	answer, err := p.Call(t.Context(), opCopy, nil, abi.Streams{1: broken, 2: onlyWriter(io.Discard)})
	must(t, err)
	_, err = abi.Result(answer)
	wantError(t, err, sdk.CodeInternal, "could not read this stream")
	if strings.Contains(string(answer), "secret") {
		t.Errorf("the plugin was told %s", answer)
	}
}

func TestSinkFails(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	full := writeFunc(func([]byte) (int, error) { return 0, errors.New("full") })
	answer, err := p.Call(t.Context(), opWrite, fmt.Append(nil, streamSize), abi.Streams{2: full})
	must(t, err)
	_, err = abi.Result(answer)
	wantError(t, err, sdk.CodeInternal, "takes no more")
}

// What a plugin does not read is not read from the host's side either.
func TestUnread(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	var read atomic.Int64
	source := readFunc(func(b []byte) (int, error) { read.Add(1); return len(b), nil })
	if _, err := p.Call(t.Context(), opEcho, nil, abi.Streams{1: source}); err != nil || read.Load() > 0 {
		t.Errorf("%d reads, %v", read.Load(), err)
	}
}

// A stream that waits does not keep a call whose time is up.
func TestStuckStreams(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", within(200*time.Millisecond))
	from, _ := io.Pipe()
	_, to := io.Pipe()
	begin := time.Now()
	_, err := p.Call(t.Context(), opRead, nil, abi.Streams{1: from})
	wantError(t, err, sdk.CodeTimeout)
	_, err = p.Call(t.Context(), opWrite, fmt.Append(nil, streamSize), abi.Streams{2: to})
	wantError(t, err, sdk.CodeTimeout)
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	if got := mustCall(t, p, opEcho, "fine"); got != "fine" {
		t.Errorf("got %q", got)
	}
}

// A slow stream does not keep other calls waiting.
func TestStreamBesideCalls(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	mustCall(t, p, opEcho, "")
	ctx, cancel := context.WithCancel(t.Context())
	_, to := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := p.Call(ctx, opWrite, fmt.Append(nil, streamSize), abi.Streams{2: to})
		done <- err
	}()
	for range 100 {
		mustCall(t, p, opEcho, "x")
	}
	cancel()
	wantError(t, <-done, sdk.CodeCancelled)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(b []byte) (int, error) { return f(b) }

func onlyWriter(w io.Writer) io.Writer { return writeFunc(w.Write) }
