package author

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/sdk"
)

// cacheChecks are those of caches beside the suite: what they do when their server fails.
func cacheChecks() []check {
	faulty := func(name string, s setting, do func(ctx context.Context, c *faultyCache, f *findings) error) check {
		return check{name, with(s, func(ctx context.Context, b *bench, f *findings) error {
			c, err := newFaultyCache(ctx, b)
			if err != nil {
				return err
			}
			return do(ctx, c, f)
		})}
	}
	quick := setting{timeout: 2 * time.Second}
	return []check{
		faulty("fault: HTTP 401 is an error and no miss", setting{}, refused(http.StatusUnauthorized)),
		faulty("fault: HTTP 500 is an error and no miss", setting{}, refused(http.StatusInternalServerError)),
		faulty("fault: a transfer that expired is planned again", setting{}, cacheExpired),
		faulty("fault: a slow server is waited for", setting{}, cacheSlow),
		faulty("fault: a truncated answer is no record and no blob", setting{timeout: 20 * time.Second}, cacheTruncated),
		faulty("fault: a server that hangs ends with the deadline", quick, cacheHangs),
		faulty("fault: a cancelled call ends at once", setting{}, cacheCancelled),
	}
}

// faultyCache is a cache that holds a record and a blob, on a server that is about to fail.
type faultyCache struct {
	*bench
	cache   *transfer.Cache
	record  sdk.Record
	blob    sdk.Blob
	content []byte
}

func newFaultyCache(ctx context.Context, b *bench) (*faultyCache, error) {
	c := &faultyCache{bench: b, cache: b.cache(), record: sdk.Record{Key: "fault/held", Value: bytes.Repeat([]byte("a record. "), 1000)}}
	if c.cache.ReadOnly() {
		return nil, errNothing
	}
	c.content = bytes.Repeat([]byte("some of a layer\n"), 20_000)
	sum := sha256.Sum256(c.content)
	c.blob = sdk.Blob{Digest: sdk.Digest("sha256:" + hex.EncodeToString(sum[:])), Size: int64(len(c.content))}
	if err := c.cache.PutBlob(ctx, c.blob, inMemory(c.content)); err != nil {
		return nil, fmt.Errorf("put a blob: %w", err)
	}
	if err := c.cache.PutRecords(ctx, []sdk.Record{c.record}); err != nil {
		return nil, fmt.Errorf("put a record: %w", err)
	}
	if b.server.count.Load() == 0 {
		return nil, errNothing // it does not use the server that could fail
	}
	return c, nil
}

func inMemory(content []byte) sdk.Content {
	return sdk.Content{Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}
}

// getBlob reads the blob.
func (c *faultyCache) getBlob(ctx context.Context) (_ []byte, err error) {
	content, err := c.cache.GetBlob(ctx, c.blob.Digest)
	if err != nil {
		return nil, err
	}
	r, err := content.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(r)
}

// mended makes sure that the plugin works when the server does again.
func (c *faultyCache) mended(ctx context.Context, f *findings) {
	c.server.fail(nil)
	records, err := c.cache.GetRecords(ctx, []sdk.Key{c.record.Key})
	if f.must("get a record when the server works again", err) && len(records) != 1 {
		f.problem("when the server works again, the record is missing")
	}
	got, err := c.getBlob(ctx)
	if f.must("get a blob when the server works again", err) && !bytes.Equal(got, c.content) {
		f.problem("when the server works again, the blob is wrong")
	}
}

// refused: a server that does not answer the question has not said that it holds nothing.
func refused(status int) func(ctx context.Context, c *faultyCache, f *findings) error {
	return func(ctx context.Context, c *faultyCache, f *findings) error {
		c.server.fail(refusing(status))
		records, err := c.cache.GetRecords(ctx, []sdk.Key{c.record.Key})
		f.mustBeError("get a record", err, fmt.Sprintf("%d records", len(records)))
		blobs, err := c.cache.StatBlobs(ctx, []sdk.Digest{c.blob.Digest})
		f.mustBeError("stat a blob", err, fmt.Sprintf("%d blobs", len(blobs)))
		got, err := c.getBlob(ctx)
		f.mustBeError("get a blob", err, fmt.Sprintf("%d bytes", len(got)))
		f.mustBeError("put a record", c.cache.PutRecords(ctx, []sdk.Record{c.record}), "success")
		other := []byte("another blob")
		sum := sha256.Sum256(other)
		blob := sdk.Blob{Digest: sdk.Digest("sha256:" + hex.EncodeToString(sum[:])), Size: int64(len(other))}
		f.mustBeError("put a blob", c.cache.PutBlob(ctx, blob, inMemory(other)), "success")
		c.mended(ctx, f)
		return nil
	}
}

// mustBeError records an answer in the place of an error as a problem: success, or a miss.
func (f *findings) mustBeError(doing string, err error, answer string) {
	switch {
	case err == nil:
		f.problem("%s: it answers with %s, as if all were well", doing, answer)
	case errors.Is(err, sdk.ErrNotFound), errors.Is(err, sdk.ErrNotMine):
		f.problem("%s: it answers that there is nothing: %v", doing, err)
	case crashed(err):
		f.problem("%s: %v", doing, err)
	}
}

// cacheExpired: the host asks for another plan when a request of one is refused. Plugins that plan no transfers answer the
// refusal themselves, and have the right to make it an error.
func cacheExpired(ctx context.Context, c *faultyCache, f *findings) error {
	content, err := c.run.client.Cache().GetBlob(ctx, c.blob.Digest)
	if err != nil {
		return err
	}
	if content.Transfer == nil {
		return errNothing
	}
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		method := content.Transfer.Parts[0].Method
		c.server.fail(refusingOnce(status, method))
		got, err := c.getBlob(ctx)
		if f.must(fmt.Sprintf("get a blob after one %d", status), err) && !bytes.Equal(got, c.content) {
			f.problem("after one %d, the blob is wrong", status)
		}
	}
	c.mended(ctx, f)
	return nil
}

func cacheSlow(ctx context.Context, c *faultyCache, f *findings) error {
	c.server.fail(slow(300 * time.Millisecond))
	records, err := c.cache.GetRecords(ctx, []sdk.Key{c.record.Key})
	if f.must("get a record from a server that takes 300 ms", err) && len(records) != 1 {
		f.problem("from a server that takes 300 ms, the record is missing")
	}
	got, err := c.getBlob(ctx)
	if f.must("get a blob from a server that takes 300 ms", err) && !bytes.Equal(got, c.content) {
		f.problem("from a server that takes 300 ms, the blob is wrong")
	}
	return nil
}

func cacheTruncated(ctx context.Context, c *faultyCache, f *findings) error {
	c.server.fail(truncating)
	records, err := c.cache.GetRecords(ctx, []sdk.Key{c.record.Key})
	if err == nil && (len(records) != 1 || !bytes.Equal(records[0].Value, c.record.Value)) {
		f.problem("half an answer passes for a record or a miss: %d records, no error", len(records))
	}
	if errors.Is(err, sdk.ErrNotFound) || crashed(err) {
		f.problem("get a record of which half arrives: %v", err)
	}
	got, err := c.getBlob(ctx)
	if err == nil && !bytes.Equal(got, c.content) {
		f.problem("half a blob passes for a whole one: %d bytes of %d", len(got), len(c.content))
	}
	c.mended(ctx, f)
	return nil
}

func cacheHangs(ctx context.Context, c *faultyCache, f *findings) error {
	c.server.fail(hanging)
	err := within(ctx, 10*time.Second, func(ctx context.Context) error {
		_, err := c.cache.GetRecords(ctx, []sdk.Key{c.record.Key})
		return err
	})
	if err == nil || errors.Is(err, sdk.ErrNotFound) {
		f.problem("get a record from a server that never answers: error %v", err)
	}
	c.mended(ctx, f)
	return nil
}

func cacheCancelled(ctx context.Context, c *faultyCache, f *findings) error {
	c.server.fail(hanging)
	cancelled, cancel := context.WithCancel(ctx)
	defer cancel()
	time.AfterFunc(200*time.Millisecond, cancel)
	err := within(cancelled, 5*time.Second, func(ctx context.Context) error {
		_, err := c.cache.GetRecords(ctx, []sdk.Key{c.record.Key})
		return err
	})
	if err == nil || errors.Is(err, sdk.ErrNotFound) {
		f.problem("a cancelled call answers: error %v", err)
	}
	c.mended(ctx, f)
	return nil
}
