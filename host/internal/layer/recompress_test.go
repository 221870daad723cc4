package layer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/internal/image"
)

// TestRecompress holds that a tar stays as it is, byte for byte, even one that Trowel itself would write otherwise.
func TestRecompress(t *testing.T) {
	t.Parallel()
	tar := bytes.Repeat([]byte("not even a tar; "), 1<<17)
	store, from := newStore(t), io.NopCloser(bytes.NewReader(tar))
	var blob []byte
	for _, to := range []image.Compression{image.Gzip, image.Zstd, image.Gzip, image.Uncompressed} {
		p, err := Recompress(t.Context(), store, func(context.Context) (io.ReadCloser, error) { return from, nil }, Options{Compression: to})
		if err != nil {
			t.Fatal(err)
		}
		l, err := p.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if l.DiffID != digest.FromBytes(tar) || l.Size != int64(len(tar)) {
			t.Errorf("%s: got diff ID %s of %d bytes", to, l.DiffID, l.Size)
		}
		r, err := l.Blob.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if blob, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		if sniff(blob) != to {
			t.Errorf("%s: got %s", to, sniff(blob))
		}
		from = io.NopCloser(bytes.NewReader(blob))
	}
	if !bytes.Equal(blob, tar) {
		t.Error("the tar is another")
	}
	failure := errors.New("gone")
	p, err := Recompress(t.Context(), store, func(context.Context) (io.ReadCloser, error) { return nil, failure }, Options{Compression: image.Gzip})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); !errors.Is(err, failure) {
		t.Errorf("got error %v, want %v", err, failure)
	}
}
