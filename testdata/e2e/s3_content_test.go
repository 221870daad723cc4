//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/sdk"
)

func contentOf(content []byte) sdk.Content {
	return sdk.Content{Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}
}

func digestOf(content []byte) sdk.Blob {
	sum := sha256.Sum256(content)
	return sdk.Blob{Digest: sdk.Digest("sha256:" + hex.EncodeToString(sum[:])), Size: int64(len(content))}
}

// bytesOf is noise that is the same for a seed.
func bytesOf(seed uint64, n int) []byte {
	out := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(out)
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mustPut puts content as a file.
func mustPut(t testing.TB, c *transfer.Cache, content []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "content")
	must(t, os.WriteFile(file, content, 0o644))
	must(t, c.PutBlob(t.Context(), digestOf(content), sdk.Content{File: file}))
}

func read(ctx context.Context, c *transfer.Cache, digest sdk.Digest) ([]byte, error) {
	content, err := c.GetBlob(ctx, digest)
	if err != nil {
		return nil, err
	}
	r, err := content.Open(ctx)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(r)
	return got, errors.Join(err, r.Close())
}

func mustGet(t testing.TB, c *transfer.Cache, want []byte) {
	t.Helper()
	got, err := read(t.Context(), c, digestOf(want).Digest)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes, want %d: %v", len(got), len(want), err)
	}
}

func sortedKeys(values url.Values) []string {
	var keys []string
	for k := range values {
		keys = append(keys, k)
	}
	return keys
}
