// Package plugintest holds the conformance suites of Trowel's contract: what every cache, every credential provider and every
// instruction handler has to do, as tests. A plugin's own tests run them with one call:
//
//	func TestConformance(t *testing.T) {
//		plugintest.Cache(t, func(t *testing.T) sdk.Cache { return mycache.New(t.TempDir()) })
//	}
//
// A plugin that asks the host for something, HTTP requests or files, is tested with a [Host] in Trowel's place:
//
//	host := &plugintest.Host{Files: map[sdk.Root]string{sdk.RootContext: "testdata"}}
//	plan, err := handler.Plan(host.Context(t.Context()), call)
//
// Each check is a subtest about one behaviour, named after it, and gets an implementation of its own from the function.
// The suites use the standard library and [sdk] only.
package plugintest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/trowel-build/trowel/sdk"
)

// check is one behaviour of an implementation of T.
type check[T any] struct {
	name string
	run  func(t *testing.T, x T)
}

func runChecks[T any](t *testing.T, open func(t *testing.T) T, checks []check[T]) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// blobOf describes content.
func blobOf(content []byte) sdk.Blob {
	sum := sha256.Sum256(content)
	return sdk.Blob{Digest: sdk.Digest("sha256:" + hex.EncodeToString(sum[:])), Size: int64(len(content))}
}

// inMemory offers content by Open alone.
func inMemory(content []byte) sdk.Content {
	return sdk.Content{Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}}
}

// inFile offers content by Open and by File, as the host does with what it has on disk.
func inFile(t *testing.T, content []byte) sdk.Content {
	t.Helper()
	file := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return sdk.Content{
		Open: func(context.Context) (io.ReadCloser, error) { return os.Open(file) },
		File: file,
	}
}

// noise is n bytes that differ from seed to seed and do not compress.
func noise(seed string, n int) []byte {
	out := make([]byte, 0, n+sha256.Size)
	for block := sha256.Sum256([]byte(seed)); len(out) < n; block = sha256.Sum256(block[:]) {
		out = append(out, block[:]...)
	}
	return out[:n]
}

// readAll reads what a cache answered by Open.
func readAll(ctx context.Context, content sdk.Content) (_ []byte, err error) {
	if content.Open == nil {
		return nil, errors.New("Content.Open is nil")
	}
	r, err := content.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open content: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(r)
}

// mustHold fails the test unless the cache answers the blob with its content, by Open and, where it names one, by File.
func mustHold(t *testing.T, c sdk.BlobStore, want []byte) {
	t.Helper()
	blob := blobOf(want)
	content, err := c.GetBlob(t.Context(), blob.Digest)
	if err != nil {
		t.Fatalf("GetBlob(%s): %v", blob.Digest, err)
	}
	got, err := readAll(t.Context(), content)
	if err != nil {
		t.Fatalf("read %s: %v", blob.Digest, err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("blob %s has %d bytes that are not the %d put", blob.Digest, len(got), len(want))
	}
	if content.File == "" {
		return
	}
	info, err := os.Lstat(content.File)
	if err != nil {
		t.Fatalf("Content.File: %v", err)
	}
	if !info.Mode().IsRegular() {
		t.Fatalf("Content.File %q is no regular file but %s", content.File, info.Mode())
	}
	if got, err = os.ReadFile(content.File); err != nil {
		t.Fatalf("Content.File: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("Content.File has %d bytes that are not the %d put", len(got), len(want))
	}
}

// mustLack fails the test unless the cache says that it does not hold the blob.
func mustLack(t *testing.T, c sdk.BlobStore, digest sdk.Digest) {
	t.Helper()
	if _, err := c.GetBlob(t.Context(), digest); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("GetBlob(%s) of a blob that is not there: error %v does not wrap sdk.ErrNotFound", digest, err)
	}
	blobs, err := c.StatBlobs(t.Context(), []sdk.Digest{digest})
	if err != nil {
		t.Errorf("StatBlobs(%s): %v", digest, err)
	}
	if len(blobs) > 0 {
		t.Errorf("StatBlobs(%s) = %v, want nothing", digest, blobs)
	}
}
