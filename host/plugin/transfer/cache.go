package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/trowel-build/trowel/sdk"
)

// Backend is what a plugin offers. Where it can do more than read, one of the other fields is set: the answer to its Hello
// says so.
type Backend struct {
	Reader  sdk.CacheReader
	Writer  sdk.BlobWriter
	Planner sdk.UploadPlanner // goes before Writer
}

// Cache is a plugin's cache as the core knows caches: what the plugin planned, the engine does. A plugin that takes no blobs
// makes a cache that cannot be written to.
type Cache struct {
	backend Backend
	engine  *Engine
}

// NewCache makes a cache of what a plugin offers.
func NewCache(backend Backend, engine *Engine) *Cache {
	return &Cache{backend: backend, engine: engine}
}

// ReadOnly says whether the plugin takes no blobs.
func (c *Cache) ReadOnly() bool { return c.backend.Writer == nil && c.backend.Planner == nil }

// GetRecords asks the plugin.
func (c *Cache) GetRecords(ctx context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	return c.backend.Reader.GetRecords(ctx, keys)
}

// PutRecords stores records, unless the plugin could not store the blobs that they name.
func (c *Cache) PutRecords(ctx context.Context, records []sdk.Record) error {
	if c.ReadOnly() {
		return readOnly("records")
	}
	return c.backend.Reader.PutRecords(ctx, records)
}

// StatBlobs asks the plugin.
func (c *Cache) StatBlobs(ctx context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	return c.backend.Reader.StatBlobs(ctx, digests)
}

// GetBlob returns the content of a blob. Where the plugin planned a transfer, each Open runs it.
func (c *Cache) GetBlob(ctx context.Context, digest sdk.Digest) (sdk.Content, error) {
	if _, err := newVerifier(sdk.Blob{Digest: digest}); err != nil {
		return sdk.Content{}, fmt.Errorf("get blob: %w", err)
	}
	content, err := c.backend.Reader.GetBlob(ctx, digest)
	if err != nil || content.Transfer == nil {
		return content, err
	}
	plan := *content.Transfer
	if err := checkGet(plan, unknownSize); err != nil {
		return sdk.Content{}, fmt.Errorf("get blob %q: %w", digest, err)
	}
	replan := func(ctx context.Context) (sdk.Transfer, error) {
		again, err := c.backend.Reader.GetBlob(ctx, digest)
		if err != nil {
			return sdk.Transfer{}, err
		}
		if again.Transfer == nil {
			return sdk.Transfer{}, errors.New("the plugin does not plan a transfer this time")
		}
		return *again.Transfer, nil
	}
	return sdk.Content{Open: func(ctx context.Context) (io.ReadCloser, error) {
		return c.engine.Get(ctx, sdk.Blob{Digest: digest, Size: unknownSize}, plan, replan)
	}}, nil
}

// PutBlob stores a blob by the plugin's plan, or else by giving it the bytes.
func (c *Cache) PutBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) error {
	if _, err := newVerifier(blob); err != nil {
		return fmt.Errorf("put blob: %w", err)
	}
	if blob.Size < 0 {
		return fmt.Errorf("put blob %q: %w", blob.Digest, invalid("the size %d is negative", blob.Size))
	}
	if c.backend.Planner == nil {
		return c.write(ctx, blob, content)
	}
	plan, err := c.backend.Planner.PlanPut(ctx, blob)
	if err != nil {
		return err
	}
	replan := func(ctx context.Context) (sdk.Transfer, error) { return c.backend.Planner.PlanPut(ctx, blob) }
	done, err := c.engine.Put(ctx, blob, content, plan, replan)
	if err != nil || len(done.Parts) == 0 {
		return err
	}
	return c.backend.Planner.FinishPut(ctx, blob, done)
}

// write gives the plugin the bytes. It reads them through a reader that fails before the last bytes of a wrong blob.
func (c *Cache) write(ctx context.Context, blob sdk.Blob, content sdk.Content) error {
	if c.backend.Writer == nil {
		return readOnly("blobs")
	}
	if content.File != "" {
		f, err := openFile(blob, content.File)
		if err != nil {
			return fmt.Errorf("put blob %q: %w", blob.Digest, err)
		}
		if content.Open == nil {
			content.Open = func(context.Context) (io.ReadCloser, error) { return openFile(blob, content.File) }
		}
		return errors.Join(c.backend.Writer.PutBlob(ctx, blob, content), f.Close())
	}
	if _, err := newStream(ctx, blob, content); err != nil {
		return fmt.Errorf("put blob %q: %w", blob.Digest, err)
	}
	return c.backend.Writer.PutBlob(ctx, blob, sdk.Content{Open: func(ctx context.Context) (io.ReadCloser, error) {
		return newStream(ctx, blob, content)
	}})
}

func readOnly(what string) error {
	text := "the plugin can be read only: it takes no " + what + `; give the cache roles = ["read"]`
	return &sdk.Error{Code: sdk.CodeUnsupported, Message: text}
}

var _ sdk.Cache = (*Cache)(nil)
