// Command cache is a plugin for Trowel: a cache on any web server that takes PUT, GET and HEAD. The README runs it.
package main

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() {
	plugin.Main(sdk.Plugin{Name: "cache", Version: "1.0.0", Cache: func(_ context.Context, config *sdk.Config) (sdk.CacheReader, error) {
		return cache(config.Required("url")), config.Err()
	}})
}

// cache is the URL below which each record and each blob is an object of its own.
type cache string

// GetRecords gets all records at once. Keys can stand in a URL as they are.
func (c cache) GetRecords(ctx context.Context, keys []sdk.Key) (found []sdk.Record, err error) {
	err = each(ctx, keys, func(key sdk.Key) (sdk.HTTPRequest, error) {
		return sdk.HTTPRequest{Method: "GET", URL: c.record(key)}, check(sdk.Record{Key: key})
	}, func(key sdk.Key, answer sdk.HTTPResponse) {
		found = append(found, sdk.Record{Key: key, Value: answer.Body})
	})
	return found, err
}

// PutRecords stores all records at once.
func (c cache) PutRecords(ctx context.Context, records []sdk.Record) error {
	return each(ctx, records, func(r sdk.Record) (sdk.HTTPRequest, error) {
		return sdk.HTTPRequest{Method: "PUT", URL: c.record(r.Key), Body: r.Value}, check(r)
	}, func(sdk.Record, sdk.HTTPResponse) {})
}

// StatBlobs asks for all blobs at once.
func (c cache) StatBlobs(ctx context.Context, digests []sdk.Digest) (found []sdk.Blob, err error) {
	err = each(ctx, digests, func(digest sdk.Digest) (sdk.HTTPRequest, error) {
		return sdk.HTTPRequest{Method: "HEAD", URL: c.blob(digest)}, nil
	}, func(digest sdk.Digest, answer sdk.HTTPResponse) {
		if size, err := strconv.ParseInt(answer.Get("Content-Length"), 10, 64); err == nil {
			found = append(found, sdk.Blob{Digest: digest, Size: size})
		}
	})
	return found, err
}

// GetBlob says where a blob is. Trowel gets it, several ranges of it at once.
func (c cache) GetBlob(ctx context.Context, digest sdk.Digest) (sdk.Content, error) {
	if held, err := c.StatBlobs(ctx, []sdk.Digest{digest}); err != nil || len(held) == 0 {
		return sdk.Content{}, cmp.Or(err, sdk.ErrNotFound)
	}
	part := sdk.TransferPart{Method: "GET", URL: c.blob(digest)}
	return sdk.Content{Transfer: &sdk.Transfer{Parts: []sdk.TransferPart{part}, Ranges: true}}, nil
}

// PlanPut says where a blob goes, or by having no parts that it is there. Trowel sends it.
func (c cache) PlanPut(ctx context.Context, blob sdk.Blob) (sdk.Transfer, error) {
	held, err := c.StatBlobs(ctx, []sdk.Digest{blob.Digest})
	if err != nil || len(held) > 0 {
		return sdk.Transfer{}, err
	}
	return sdk.Transfer{Parts: []sdk.TransferPart{{Method: "PUT", URL: c.blob(blob.Digest)}}}, nil
}

// FinishPut has nothing to do: the server shows an object when it has all of it.
func (cache) FinishPut(context.Context, sdk.Blob, sdk.TransferResult) error { return nil }

func (c cache) record(key sdk.Key) string { return string(c) + "/records/" + string(key) }

func (c cache) blob(digest sdk.Digest) string { return string(c) + "/blobs/" + string(digest) }

// check says what is wrong with a record: what the contract does not allow must not become a URL.
func check(r sdk.Record) error {
	if r.Key == "" || len(r.Key) > 200 || len(r.Value) > 1<<20 || strings.Trim(string(r.Key), "abcdefghijklmnopqrstuvwxyz0123456789-/:") != "" {
		return &sdk.Error{Code: sdk.CodeInvalid, Message: "bad record " + strconv.Quote(string(r.Key))}
	}
	return nil
}

// each makes a request for each item, as many at once as Trowel makes, and calls do with the answers that have what was
// asked for. A 404 is a miss; whatever else is no success is an error, so that a broken server is not taken for an empty one.
func each[T any](ctx context.Context, items []T, request func(T) (sdk.HTTPRequest, error), do func(T, sdk.HTTPResponse)) error {
	for batch := range slices.Chunk(items, 256) {
		requests := make([]sdk.HTTPRequest, len(batch))
		for i, item := range batch {
			var err error
			if requests[i], err = request(item); err != nil {
				return err
			}
		}
		answers, err := sdk.HTTP(ctx, requests...)
		if err != nil {
			return err
		}
		for i, answer := range answers {
			switch {
			case answer.Error != nil:
				return answer.Error
			case answer.Status >= 200 && answer.Status <= 299:
				do(batch[i], answer)
			case answer.Status != 404 || requests[i].Method == "PUT":
				return &sdk.Error{Code: sdk.CodeUnavailable, Message: requests[i].URL + ": status " + strconv.Itoa(answer.Status)}
			}
		}
	}
	return nil
}

var _ sdk.UploadPlanner = cache("")
