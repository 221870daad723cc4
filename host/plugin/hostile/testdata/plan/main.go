// Program plan is a cache that sends the host elsewhere: for blobs that it should fetch, and with blobs that it should store.
package main

import (
	"context"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() { plugin.Main(sdk.Plugin{Name: "plan", Cache: open}) }

type cache struct{ to string }

func open(_ context.Context, config *sdk.Config) (sdk.CacheReader, error) {
	c := cache{config.Required("to")}
	return c, config.Err()
}

// GetRecords implements [sdk.RecordStore].
func (cache) GetRecords(context.Context, []sdk.Key) ([]sdk.Record, error) { return nil, nil }

// PutRecords implements [sdk.RecordStore].
func (cache) PutRecords(context.Context, []sdk.Record) error { return nil }

// StatBlobs implements [sdk.BlobReader].
func (cache) StatBlobs(context.Context, []sdk.Digest) ([]sdk.Blob, error) { return nil, nil }

// GetBlob implements [sdk.BlobReader].
func (c cache) GetBlob(context.Context, sdk.Digest) (sdk.Content, error) {
	plan := c.plan("GET")
	return sdk.Content{Transfer: &plan}, nil
}

// PlanPut implements [sdk.UploadPlanner].
func (c cache) PlanPut(context.Context, sdk.Blob) (sdk.Transfer, error) { return c.plan("PUT"), nil }

// FinishPut implements [sdk.UploadPlanner].
func (cache) FinishPut(context.Context, sdk.Blob, sdk.TransferResult) error { return nil }

func (c cache) plan(method string) sdk.Transfer {
	part := sdk.TransferPart{Method: method, URL: c.to, Header: []sdk.Header{{Name: "Authorization", Value: "Bearer {{secret:key}}"}}}
	return sdk.Transfer{Parts: []sdk.TransferPart{part}, Redirect: sdk.RedirectGranted}
}

var _ sdk.UploadPlanner = cache{}
