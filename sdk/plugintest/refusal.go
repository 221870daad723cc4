package plugintest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/sdk"
)

func refusalChecks() []check[sdk.Cache] {
	content := noise("refused", 300_000)
	return []check[sdk.Cache]{
		{"blobs/short content is refused", func(t *testing.T, c sdk.Cache) { refuseWrong(t, c, content, content[:len(content)-1]) }},
		{"blobs/long content is refused", func(t *testing.T, c sdk.Cache) {
			refuseWrong(t, c, content, append(content[:len(content):len(content)], 'x'))
		}},
		{"blobs/no content is refused", func(t *testing.T, c sdk.Cache) { refuseWrong(t, c, content, nil) }},
		{"blobs/content of another digest is refused", refuseDigest},
		{"blobs/content that breaks off is refused", refuseBroken},
		{"blobs/content that cannot be opened is refused", refuseClosed},
		{"blobs/a wrong put does not hurt the blob", refuseOverwrite},
		{"blobs/a bad digest is refused", refuseBadDigest},
		{"blobs/a cancelled put leaves a whole blob or none", refuseCancelled},
	}
}

// refuseWrong puts content of a wrong length in both ways.
func refuseWrong(t *testing.T, c sdk.Cache, claimed, offered []byte) {
	blob := blobOf(claimed)
	for name, offer := range map[string]sdk.Content{"Open": inMemory(offered), "File": inFile(t, offered)} {
		if err := c.PutBlob(t.Context(), blob, offer); err == nil {
			t.Errorf("PutBlob by %s accepted %d bytes for a blob of %d", name, len(offered), len(claimed))
		}
		mustLack(t, c, blob.Digest)
	}
}

func refuseDigest(t *testing.T, c sdk.Cache) {
	claimed := noise("claimed", 4000)
	if err := c.PutBlob(t.Context(), blobOf(claimed), inMemory(noise("offered", 4000))); err == nil {
		t.Error("PutBlob accepted content that has another digest")
	}
	mustLack(t, c, blobOf(claimed).Digest)
}

var errBroken = errors.New("the content broke off")

func refuseBroken(t *testing.T, c sdk.Cache) {
	content := noise("broken", 300_000)
	offer := sdk.Content{Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(content[:200_000]), brokenReader{})), nil
	}}
	if err := c.PutBlob(t.Context(), blobOf(content), offer); err == nil {
		t.Error("PutBlob accepted content whose reader failed")
	}
	mustLack(t, c, blobOf(content).Digest)
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

func refuseClosed(t *testing.T, c sdk.Cache) {
	content := noise("closed", 100)
	offer := sdk.Content{Open: func(context.Context) (io.ReadCloser, error) { return nil, errBroken }}
	if err := c.PutBlob(t.Context(), blobOf(content), offer); err == nil {
		t.Error("PutBlob accepted content that it could not open")
	}
	mustLack(t, c, blobOf(content).Digest)
}

func refuseOverwrite(t *testing.T, c sdk.Cache) {
	content := noise("whole", 100_000)
	putBlob(t, c, content, inMemory(content))
	// Whether this is an error depends on whether the cache looks at content that it has no need of.
	_ = c.PutBlob(t.Context(), blobOf(content), inMemory(content[:500]))
	mustHold(t, c, content)
}

func refuseBadDigest(t *testing.T, c sdk.Cache) {
	valid := blobOf([]byte("x"))
	sum := strings.TrimPrefix(string(valid.Digest), "sha256:")
	outside := t.TempDir()
	bad := map[string]string{
		"empty": "", "no algorithm": sum, "no sum": "sha256:", "upward": "sha256:../../../../../../../.." + outside + "/escape",
		"upward algorithm": "../../" + outside + "/escape:" + sum, "nul": "sha256:" + sum[:63] + "\x00", "upper case": "sha256:" + strings.ToUpper(sum),
		"short": "sha256:" + sum[:63], "long": "sha256:" + sum + "0", "very long": "sha256:" + strings.Repeat("a", 1<<16),
		"unknown algorithm": "md5:" + sum[:32], "newline": "sha256:" + sum + "\n", "slash": "sha256/" + sum,
	}
	for name, digest := range bad {
		d := sdk.Digest(digest)
		if err := c.PutBlob(t.Context(), sdk.Blob{Digest: d, Size: 1}, inMemory([]byte("x"))); err == nil {
			t.Errorf("PutBlob accepted a digest that is bad: %s", name)
		}
		if _, err := c.GetBlob(t.Context(), d); err == nil {
			t.Errorf("GetBlob answered a digest that is bad: %s", name)
		}
		if blobs, err := c.StatBlobs(t.Context(), []sdk.Digest{d}); err == nil && len(blobs) > 0 {
			t.Errorf("StatBlobs answered a digest that is bad: %s", name)
		}
	}
	if err := c.PutBlob(t.Context(), sdk.Blob{Digest: valid.Digest, Size: -1}, inMemory([]byte("x"))); err == nil {
		t.Error("PutBlob accepted a size of -1")
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("a bad digest wrote outside of the cache: %v, %v", entries, err)
	}
}

// refuseCancelled cancels the put while its content is read.
func refuseCancelled(t *testing.T, c sdk.Cache) {
	content := noise("cancelled", 4<<20)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	offer := sdk.Content{Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(
			bytes.NewReader(content[:1<<20]), callOnRead(cancel), bytes.NewReader(content[1<<20:]))), nil
	}}
	err := c.PutBlob(ctx, blobOf(content), offer)
	if err == nil {
		mustHold(t, c, content)
		return
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("PutBlob after its context was cancelled: error %v does not wrap context.Canceled", err)
	}
	mustLack(t, c, blobOf(content).Digest)
}

// callOnRead is an empty reader that calls itself when it is read.
type callOnRead func()

func (call callOnRead) Read([]byte) (int, error) {
	call()
	return 0, io.EOF
}
