package layer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/image"
)

// TestBlobGrowsMeanwhile: the upload of a layer starts before its last file was read.
func TestBlobGrowsMeanwhile(t *testing.T) {
	t.Parallel()
	source := &gate{open: make(chan struct{})}
	noise := int64(8 << 20)
	changes := []filetree.Change{
		{Entry: filetree.Entry{Path: "a", Type: filetree.Regular, Size: noise}, Source: source, From: filetree.Ref{Path: "a", Size: noise}},
		{Entry: filetree.Entry{Path: "b", Type: filetree.Regular, Size: 1}, Source: source, From: filetree.Ref{Path: "b", Size: 1}},
	}
	p, err := Start(t.Context(), newStore(t), changes, Options{Compression: image.Gzip})
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Blob().Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	early := make([]byte, 4<<20)
	if _, err := io.ReadFull(r, early); err != nil {
		t.Fatal(err)
	}
	close(source.open)
	late, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	l, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := l.Blob.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("sha256:%x", sha256.Sum256(append(early, late...))); got != d.String() {
		t.Errorf("read %s of blob %s", got, d)
	}
}

// gate is a source whose file "b" cannot be read before it is opened; all else is noise.
type gate struct{ open chan struct{} }

func (g *gate) Open(_ context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	if ref.Path == "b" {
		<-g.open
	}
	return io.NopCloser(io.LimitReader(rand.NewChaCha8([32]byte{1}), ref.Size)), nil
}

func TestWriteCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	source := &gate{open: make(chan struct{})}
	big := int64(1 << 40)
	p, err := Start(ctx, newStore(t), []filetree.Change{{
		Entry: filetree.Entry{Path: "a", Type: filetree.Regular, Size: big}, Source: source, From: filetree.Ref{Path: "a", Size: big},
	}}, Options{Compression: image.Gzip})
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Blob().Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, 1<<20); err != nil {
		t.Fatal(err)
	}
	reason := errors.New("the user gave up")
	cancel(reason)
	if _, err := p.Wait(); !errors.Is(err, reason) {
		t.Errorf("Wait: %v", err)
	}
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, reason) {
		t.Errorf("reader: %v", err)
	}
}

// TestMemory: what the pipeline takes does not depend on the size of the layer. It is not parallel, for it looks at the
// heap of the whole process.
func TestMemory(t *testing.T) {
	size := int64(128 << 20)
	source := &pattern{}
	var changes []filetree.Change
	for _, p := range []string{"a", "b"} {
		e := filetree.Entry{Path: p, Type: filetree.Regular, Size: size}
		changes = append(changes, filetree.Change{Entry: e, Source: source, From: filetree.Ref{Path: p, Size: size}})
	}
	for _, o := range []Options{{Compression: image.Gzip, Level: 1, Jobs: 4}, {Compression: image.Zstd, Level: 1, Jobs: 4}} {
		runtime.GC()
		var before, now runtime.MemStats
		runtime.ReadMemStats(&before)
		p, err := Start(t.Context(), newStore(t), changes, o)
		if err != nil {
			t.Fatal(err)
		}
		var peak uint64
		for done := false; !done; {
			select {
			case <-p.done:
				done = true
			case <-time.After(20 * time.Millisecond):
			}
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapInuse-min(now.HeapInuse, before.HeapInuse))
		}
		if _, err := p.Wait(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: peak heap %d MiB", o.Compression, peak>>20)
		if peak > 64<<20 {
			t.Errorf("%s: writing %d MiB took %d MiB of memory", o.Compression, 2*size>>20, peak>>20)
		}
	}
}

// pattern is a source of files that compress well.
type pattern struct{}

func (*pattern) Open(_ context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(&patternReader{}, ref.Size)), nil
}

type patternReader struct{ n byte }

func (r *patternReader) Read(p []byte) (int, error) {
	for i := range min(len(p), 256) {
		p[i] = byte(i) ^ r.n
	}
	for k := 256; k < len(p); k *= 2 {
		copy(p[k:], p[:k])
	}
	r.n++
	return len(p), nil
}

// TestBlocksShareAWindow: cutting the stream for several goroutines costs no compression.
func TestBlocksShareAWindow(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 20_000)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(noise) // never fails
	text := strings.Repeat(string(noise), 200)
	source := &contents{files: map[string]string{"a": text}}
	l := mustWrite(t, newStore(t), []filetree.Change{{
		Entry: filetree.Entry{Path: "a", Type: filetree.Regular, Size: int64(len(text))}, Source: source, From: filetree.Ref{Path: "a", Size: int64(len(text))},
	}}, Options{Compression: image.Gzip})
	_, size, err := l.Blob.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if size > 3*int64(len(noise)) {
		t.Errorf("%d bytes of noise, repeated, became %d", len(noise), size)
	}
}
