package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"sync"

	"github.com/trowel-build/trowel/sdk"
)

var validDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func checkDigest(digest sdk.Digest) error {
	if !validDigest.MatchString(string(digest)) {
		return fmt.Errorf("%.80q is no SHA-256 digest", string(digest))
	}
	return nil
}

func blobOf(content []byte) sdk.Blob {
	sum := sha256.Sum256(content)
	return sdk.Blob{Digest: sdk.Digest("sha256:" + hex.EncodeToString(sum[:])), Size: int64(len(content))}
}

func inMemory(content []byte) sdk.Content {
	return sdk.Content{Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}
}

// StatBlobs asks about the blobs of which no record told, all at once.
func (c *Cache) StatBlobs(ctx context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	var mu sync.Mutex
	var held []sdk.Blob
	wanted := slices.Compact(slices.Sorted(slices.Values(digests)))
	wanted = slices.DeleteFunc(wanted, func(d sdk.Digest) bool { return checkDigest(d) != nil })
	err := each(ctx, wanted, func(ctx context.Context, digest sdk.Digest) error {
		b, err := c.stat(ctx, digest)
		if errors.Is(err, sdk.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look up blob %q: %w", digest, err)
		}
		mu.Lock()
		defer mu.Unlock()
		held = append(held, b)
		return nil
	})
	return held, err
}

func (c *Cache) stat(ctx context.Context, digest sdk.Digest) (sdk.Blob, error) {
	if b, ok := c.known(digest); ok {
		return b, nil
	}
	size, err := c.repository.StatBlob(ctx, digest)
	if err != nil {
		return sdk.Blob{}, err
	}
	b := sdk.Blob{Digest: digest, Size: size}
	c.know(b)
	return b, nil
}

// GetBlob opens a blob in the registry. Its bytes are verified while they are read.
func (c *Cache) GetBlob(ctx context.Context, digest sdk.Digest) (sdk.Content, error) {
	err := checkDigest(digest)
	var b sdk.Blob
	if err == nil {
		b, err = c.stat(ctx, digest)
	}
	if err != nil {
		return sdk.Content{}, fmt.Errorf("get blob %.80q: %w", string(digest), err)
	}
	return sdk.Content{Open: func(ctx context.Context) (io.ReadCloser, error) { return c.repository.OpenBlob(ctx, b) }}, nil
}

// PutBlob pushes a blob, unless the repository has it.
func (c *Cache) PutBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) error {
	if err := c.putBlob(ctx, blob, content); err != nil {
		return fmt.Errorf("put blob %.80q: %w", string(blob.Digest), err)
	}
	c.know(blob)
	return nil
}

func (c *Cache) putBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) error {
	if err := checkDigest(blob.Digest); err != nil {
		return err
	}
	if blob.Size < 0 {
		return fmt.Errorf("size %d is negative", blob.Size)
	}
	if content.File != "" {
		info, err := os.Stat(content.File)
		if err != nil {
			return err
		}
		if info.Size() != blob.Size {
			return fmt.Errorf("%q has %d bytes, and the blob %d", content.File, info.Size(), blob.Size)
		}
	} else if content.Open == nil {
		return errors.New("content has no Open")
	}
	return c.repository.PushBlob(ctx, blob, content)
}
