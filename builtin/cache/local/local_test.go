package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugintest"
)

func openCache(t *testing.T, config Config) *Cache {
	t.Helper()
	c, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

func blobOf(content []byte) sdk.Blob {
	sum := sha256.Sum256(content)
	return sdk.Blob{Digest: sdk.Digest("sha256:" + hex.EncodeToString(sum[:])), Size: int64(len(content))}
}

func inMemory(content []byte) sdk.Content {
	return sdk.Content{Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}
}

func put(t *testing.T, c *Cache, content []byte) sdk.Digest {
	t.Helper()
	if err := c.PutBlob(t.Context(), blobOf(content), inMemory(content)); err != nil {
		t.Fatal(err)
	}
	return blobOf(content).Digest
}

func holds(t *testing.T, c *Cache, d sdk.Digest) bool {
	t.Helper()
	blobs, err := c.StatBlobs(t.Context(), []sdk.Digest{d})
	if err != nil {
		t.Fatal(err)
	}
	return len(blobs) == 1
}

func TestConformance(t *testing.T) {
	t.Parallel()
	plugintest.Cache(t, func(t *testing.T) sdk.Cache { return openCache(t, Config{Dir: filepath.Join(t.TempDir(), "cache")}) })
}

// Files that are neither on the same file system nor clonable are copied, and then looked at.
func TestFileOfOtherFileSystem(t *testing.T) {
	t.Parallel()
	other := mountTmpfs(t, "size=1m")
	c := openCache(t, Config{Dir: t.TempDir()})
	content := []byte("the layer")
	file := filepath.Join(other, "layer")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	offer := sdk.Content{File: file, Open: func(context.Context) (io.ReadCloser, error) { return os.Open(file) }}
	if err := c.PutBlob(t.Context(), blobOf(content), offer); err != nil {
		t.Fatal(err)
	}
	if !holds(t, c, blobOf(content).Digest) {
		t.Error("the blob is not held")
	}
	claimed := blobOf([]byte("the lager"))
	if err := c.PutBlob(t.Context(), claimed, offer); err == nil || holds(t, c, claimed.Digest) {
		t.Errorf("a copied file of another digest was accepted: %v", err)
	}
}

func TestFileIsNotCopied(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := openCache(t, Config{Dir: filepath.Join(dir, "cache")})
	file := filepath.Join(dir, "layer")
	if err := os.WriteFile(file, []byte("the layer"), 0o644); err != nil {
		t.Fatal(err)
	}
	opened := false
	offer := sdk.Content{File: file, Open: func(context.Context) (io.ReadCloser, error) {
		opened = true
		return os.Open(file)
	}}
	if err := c.PutBlob(t.Context(), blobOf([]byte("the layer")), offer); err != nil {
		t.Fatal(err)
	}
	if opened {
		t.Error("a file of the same file system was copied")
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "cache/v1", c.scratch.name)); err != nil || len(entries) > 0 {
		t.Errorf("temporary files are left: %v, %v", entries, err)
	}
}

// Somebody else's file is not linked: who owns it can change it.
func TestFileOfOtherUserIsCopied(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("giving a file away takes root")
	}
	dir := t.TempDir()
	c := openCache(t, Config{Dir: filepath.Join(dir, "cache")})
	file := filepath.Join(dir, "layer")
	if err := errors.Join(os.WriteFile(file, []byte("the layer"), 0o666), os.Chown(file, 1234, 1234)); err != nil {
		t.Fatal(err)
	}
	offer := sdk.Content{File: file, Open: func(context.Context) (io.ReadCloser, error) { return os.Open(file) }}
	if err := c.PutBlob(t.Context(), blobOf([]byte("the layer")), offer); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("THE LAYER"), 0o666); err != nil {
		t.Fatal(err)
	}
	held, err := c.GetBlob(t.Context(), blobOf([]byte("the layer")).Digest)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(held.File); err != nil || string(got) != "the layer" {
		t.Errorf("the blob is %q, error %v", got, err)
	}
}

func TestOpenDirectory(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		files map[string]string
		want  string // part of the error, "" for none
	}{
		"empty":           {},
		"a volume's root": {files: map[string]string{"lost+found/x": ""}},
		"plugins first":   {files: map[string]string{"compiled/x": "", "plugins/x": ""}},
		"set up":          {files: map[string]string{"FORMAT": "trowel-cache 1\n", "other": ""}},
		"being set up":    {files: map[string]string{".trowel-cache-XYZ": ""}},
		"newer":           {files: map[string]string{"FORMAT": "trowel-cache 2\n"}, want: "use a newer Trowel"},
		"something else":  {files: map[string]string{"main.go": "package main"}, want: `holds "main.go" and is no cache`},
		"another FORMAT":  {files: map[string]string{"FORMAT": "ext4"}, want: "not that of a cache"},
		"cut short":       {files: map[string]string{"FORMAT": ""}, want: "not that of a cache"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, content := range test.files {
				if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			c, err := Open(Config{Dir: dir})
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v does not say %q of %q", err, test.want, dir)
			}
			if _, err := os.Stat(filepath.Join(dir, "v1")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a refused directory was littered: %v", err)
			}
		})
	}
	if _, err := Open(Config{}); err == nil || !strings.Contains(err.Error(), "set dir") {
		t.Errorf("without a directory: error %v", err)
	}
}

// TestEmpty: a cache is empty until it has a record, and one of which nothing is known is not.
func TestEmpty(t *testing.T) {
	t.Parallel()
	c := openCache(t, Config{Dir: t.TempDir()})
	put(t, c, []byte("a blob"))
	if !c.Empty() {
		t.Error("a cache without records is not empty")
	}
	if err := c.PutRecords(t.Context(), []sdk.Record{{Key: "step/1", Value: []byte("v")}}); err != nil {
		t.Fatal(err)
	}
	if c.Empty() {
		t.Error("a cache with a record is empty")
	}
	other := openCache(t, Config{Dir: t.TempDir()})
	if err := other.root.WriteFile(recordDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if other.Empty() {
		t.Error("a cache whose records cannot be listed is empty")
	}
}

// Two processes may set up one directory at the same moment.
func TestOpenConcurrently(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	results := make(chan error, 16)
	for range cap(results) {
		go func() {
			c, err := Open(Config{Dir: dir})
			if err == nil {
				err = errors.Join(c.PutRecords(t.Context(), []sdk.Record{{Key: "k", Value: []byte("v")}}), c.Close())
			}
			results <- err
		}()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// What a crash of the machine leaves is a miss, and can be put again.
func TestDamagedEntriesAreMisses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := openCache(t, Config{Dir: dir})
	content := bytes.Repeat([]byte("layer "), 1000)
	sum := strings.TrimPrefix(string(put(t, c, content)), "sha256:")
	records := []sdk.Record{{Key: "kind/a", Value: []byte("value of a")}, {Key: "kind/b", Value: []byte("value of b")}}
	if err := c.PutRecords(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	v1 := filepath.Join(dir, "v1")
	blob := filepath.Join(v1, blobName(sum, int64(len(content))))
	a, b := filepath.Join(v1, recordName("kind/a")), filepath.Join(v1, recordName("kind/b"))
	whole, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(whole, []byte("value"), []byte("Value"), 1)
	tests := map[string]struct {
		file    string
		content []byte
	}{
		"short blob":      {blob, content[:100]},
		"long blob":       {blob, append(bytes.Clone(content), 'x')},
		"empty blob":      {blob, nil},
		"short record":    {a, whole[:len(whole)-1]},
		"long record":     {a, append(bytes.Clone(whole), 'x')},
		"empty record":    {a, nil},
		"no newline":      {a, []byte("trowel-record")},
		"changed record":  {a, changed},
		"another's file":  {b, whole},
		"something else":  {a, []byte("hello world\n")},
		"enormous record": {a, make([]byte, 3<<20)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(test.file, test.content, 0o644); err != nil {
				t.Fatal(err)
			}
			key := sdk.Key("kind/a")
			if test.file == b {
				key = "kind/b"
			}
			if test.file == blob {
				if holds(t, c, blobOf(content).Digest) {
					t.Error("StatBlobs answers a damaged blob")
				}
				if _, err := c.GetBlob(t.Context(), blobOf(content).Digest); !errors.Is(err, sdk.ErrNotFound) {
					t.Errorf("GetBlob of a damaged blob: %v", err)
				}
			} else if got, err := c.GetRecords(t.Context(), []sdk.Key{key}); err != nil || len(got) > 0 {
				t.Errorf("GetRecords of a damaged record = %v, %v", got, err)
			}
			put(t, c, content)
			if err := c.PutRecords(t.Context(), records); err != nil {
				t.Fatal(err)
			}
			if got, err := c.GetRecords(t.Context(), []sdk.Key{key}); err != nil || len(got) != 1 {
				t.Errorf("after another put GetRecords = %v, %v", got, err)
			}
			if !holds(t, c, blobOf(content).Digest) {
				t.Error("after another put the blob is not held")
			}
		})
	}
}

func TestGetAfterPruneIsNotFound(t *testing.T) {
	t.Parallel()
	c := openCache(t, Config{Dir: t.TempDir()})
	held, err := c.GetBlob(t.Context(), put(t, c, []byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Prune(t.Context(), PruneOptions{Scope: ScopeAll}); err != nil {
		t.Fatal(err)
	}
	if _, err := held.Open(t.Context()); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("Open after a prune: %v", err)
	}
}

// A put ends when its context does, however much is left to read.
func TestCancelledPutEnds(t *testing.T) {
	t.Parallel()
	c := openCache(t, Config{Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	reads := 0
	offer := sdk.Content{Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(readerFunc(func(p []byte) (int, error) {
			if reads++; reads == 3 {
				cancel()
			}
			return len(p), nil
		})), nil
	}}
	blob := sdk.Blob{Digest: blobOf(nil).Digest, Size: 1 << 40}
	if err := c.PutBlob(ctx, blob, offer); !errors.Is(err, context.Canceled) || reads > 4 {
		t.Errorf("after %d reads: error %v", reads, err)
	}
	if names, err := readNames(c.root, c.scratch.name); err != nil || len(names) > 0 {
		t.Errorf("temporary files are left: %q, %v", names, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
