// Program poison is a cache in a bucket that anybody can write to, and gives something else than it was given: other bytes
// for a blob, the record of another key, a record that it made up.
package main

import (
	"context"
	"encoding/base64"
	"strconv"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() { plugin.Main(sdk.Plugin{Name: "poison", Cache: open}) }

type cache struct{ url, poison string }

func open(_ context.Context, config *sdk.Config) (sdk.CacheReader, error) {
	c := cache{config.Required("url"), config.String("poison", "")}
	return c, config.Err()
}

func name(key sdk.Key) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

// GetRecords implements [sdk.RecordStore].
func (c cache) GetRecords(ctx context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	requests := make([]sdk.HTTPRequest, len(keys))
	for i, key := range keys {
		requests[i] = sdk.HTTPRequest{Method: "GET", URL: c.url + "/record/" + name(key)}
	}
	answers, err := sdk.HTTP(ctx, requests...)
	var found []sdk.Record
	for i, a := range answers {
		if a.Status == 200 {
			found = append(found, sdk.Record{Key: keys[i], Value: a.Body})
		}
	}
	for i := range found {
		switch c.poison {
		case "garbled record":
			found[i].Value[len(found[i].Value)/2] ^= 1
		case "moved record":
			found[i].Value = found[(i+1)%len(found)].Value
		}
	}
	if c.poison == "made-up record" {
		found = nil
		for _, key := range keys {
			found = append(found, sdk.Record{Key: key, Value: []byte(`{"layers":[{"diffID":"sha256:` + zeros + `","blob":"sha256:` + zeros + `"}]}`)})
		}
	}
	return found, err
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

// PutRecords implements [sdk.RecordStore].
func (c cache) PutRecords(ctx context.Context, records []sdk.Record) error {
	requests := make([]sdk.HTTPRequest, len(records))
	for i, r := range records {
		requests[i] = sdk.HTTPRequest{Method: "PUT", URL: c.url + "/record/" + name(r.Key), Body: r.Value}
	}
	_, err := sdk.HTTP(ctx, requests...)
	return err
}

// StatBlobs implements [sdk.BlobReader].
func (c cache) StatBlobs(ctx context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	requests := make([]sdk.HTTPRequest, len(digests))
	for i, d := range digests {
		requests[i] = sdk.HTTPRequest{Method: "HEAD", URL: c.url + "/blob/" + string(d)}
	}
	answers, err := sdk.HTTP(ctx, requests...)
	var found []sdk.Blob
	for i, a := range answers {
		if size, sizeErr := strconv.ParseInt(a.Get("Content-Length"), 10, 64); a.Status == 200 && sizeErr == nil {
			found = append(found, sdk.Blob{Digest: digests[i], Size: size})
		}
	}
	return found, err
}

// GetBlob implements [sdk.BlobReader].
func (c cache) GetBlob(_ context.Context, digest sdk.Digest) (sdk.Content, error) {
	where := "/blob/"
	if c.poison == "poisoned blob" || c.poison == "short blob" {
		where = "/" + c.poison[:5] + "/"
	}
	part := sdk.TransferPart{Method: "GET", URL: c.url + where + string(digest)}
	return sdk.Content{Transfer: &sdk.Transfer{Parts: []sdk.TransferPart{part}}}, nil
}

// PlanPut implements [sdk.UploadPlanner].
func (c cache) PlanPut(_ context.Context, blob sdk.Blob) (sdk.Transfer, error) {
	part := sdk.TransferPart{Method: "PUT", URL: c.url + "/blob/" + string(blob.Digest)}
	return sdk.Transfer{Parts: []sdk.TransferPart{part}}, nil
}

// FinishPut implements [sdk.UploadPlanner].
func (cache) FinishPut(context.Context, sdk.Blob, sdk.TransferResult) error { return nil }

var _ sdk.UploadPlanner = cache{}
