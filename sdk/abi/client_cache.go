package abi

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/trowel-build/trowel/sdk"
)

const (
	maxRecord = 1 << 20 // bytes of a record's value, by package sdk
	maxBatch  = 8 << 20 // bytes of the values of a PutRecords, which are a third more as base64
	maxNames  = 10_000  // keys or digests of a request
)

// RemoteCache is a plugin as a cache. It has the methods of [sdk.BlobWriter] and [sdk.UploadPlanner] whether the plugin has
// these features or not: the answer to Hello says so, and without them they answer the code unsupported.
type RemoteCache struct{ c *Client }

// GetRecords implements [sdk.RecordStore].
func (r *RemoteCache) GetRecords(ctx context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	var all []sdk.Record
	for batch := range slices.Chunk(keys, maxNames) {
		records, err := r.getRecords(ctx, batch)
		if err != nil {
			return nil, err
		}
		all = append(all, records...)
	}
	wanted := set(keys)
	for _, record := range all {
		if !wanted[record.Key] {
			return nil, misbehaved("answered a record that was not asked for, or twice: " + quote(string(record.Key)))
		}
		if len(record.Value) > maxRecord {
			return nil, misbehaved("answered a record of more than 1 MiB: " + quote(string(record.Key)))
		}
		wanted[record.Key] = false
	}
	return all, nil
}

// getRecords asks for half of the records at a time where all are too much for one answer.
func (r *RemoteCache) getRecords(ctx context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	answer, err := call(ctx, r.c, OpGetRecords, AppendGetRecordsRequest, &GetRecordsRequest{Keys: keys}, DecodeGetRecordsResponse)
	if failure, ok := errors.AsType[*sdk.Error](err); !ok || failure.Code != sdk.CodeLimit || len(keys) < 2 {
		return answer.Records, err
	}
	first, err := r.getRecords(ctx, keys[:len(keys)/2])
	if err != nil {
		return nil, err
	}
	second, err := r.getRecords(ctx, keys[len(keys)/2:])
	return append(first, second...), err
}

// PutRecords implements [sdk.RecordStore]. Many or large records go in several operations.
func (r *RemoteCache) PutRecords(ctx context.Context, records []sdk.Record) error {
	for len(records) > 0 {
		n, size := 0, 0
		for n < len(records) && n < maxNames && (n == 0 || size+len(records[n].Value) <= maxBatch) {
			size += len(records[n].Value)
			n++
		}
		request := PutRecordsRequest{Records: records[:n]}
		if _, err := call(ctx, r.c, OpPutRecords, AppendPutRecordsRequest, &request, DecodeEmpty); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

// StatBlobs implements [sdk.BlobReader].
func (r *RemoteCache) StatBlobs(ctx context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	var all []sdk.Blob
	for batch := range slices.Chunk(digests, maxNames) {
		answer, err := call(ctx, r.c, OpStatBlobs, AppendStatBlobsRequest, &StatBlobsRequest{Digests: batch}, DecodeStatBlobsResponse)
		if err != nil {
			return nil, err
		}
		all = append(all, answer.Blobs...)
	}
	wanted := set(digests)
	for _, blob := range all {
		if !wanted[blob.Digest] {
			return nil, misbehaved("answered a blob that was not asked for, or twice: " + quote(string(blob.Digest)))
		}
		if blob.Size < 0 {
			return nil, misbehaved("answered a blob of a negative size: " + quote(string(blob.Digest)))
		}
		wanted[blob.Digest] = false
	}
	return all, nil
}

// PlanPut implements [sdk.UploadPlanner].
func (r *RemoteCache) PlanPut(ctx context.Context, blob sdk.Blob) (sdk.Transfer, error) {
	answer, err := call(ctx, r.c, OpPlanPut, AppendPlanPutRequest, &PlanPutRequest{Blob: blob}, DecodePlanPutResponse)
	if err == nil {
		err = checkUpload(answer.Transfer, blob.Size)
	}
	if err != nil {
		return sdk.Transfer{}, err
	}
	return answer.Transfer, nil
}

// FinishPut implements [sdk.UploadPlanner].
func (r *RemoteCache) FinishPut(ctx context.Context, blob sdk.Blob, done sdk.TransferResult) error {
	_, err := call(ctx, r.c, OpFinishPut, AppendFinishPutRequest, &FinishPutRequest{Blob: blob, Done: done}, DecodeEmpty)
	return err
}

// checkUpload says whether the parts cover size bytes without gaps. No parts at all mean that there is nothing to do.
func checkUpload(t sdk.Transfer, size int64) error {
	var at int64
	for i, part := range t.Parts {
		if part.Offset != at || part.Length < 0 || part.Length > size-at || part.Length == 0 && i < len(t.Parts)-1 {
			return misbehaved("answered a transfer whose part " + strconv.Itoa(i+1) + " of " + strconv.Itoa(len(t.Parts)) +
				" does not go on where the one before ends, or beyond the blob's end")
		}
		if at += part.Length; part.Length == 0 {
			at = size
		}
	}
	if len(t.Parts) > 0 && at != size {
		return misbehaved("answered a transfer whose parts cover " + strconv.FormatInt(at, 10) + " of the blob's " +
			strconv.FormatInt(size, 10) + " bytes")
	}
	return nil
}

// checkDownload says whether a transfer gets a whole blob: it has one part, from the start to the end.
func checkDownload(t *sdk.Transfer) error {
	if len(t.Parts) != 1 || t.Parts[0].Offset != 0 || t.Parts[0].Length < 0 {
		return misbehaved("answered a transfer that does not get the blob in one part from its start")
	}
	return nil
}

func set[T comparable](list []T) map[T]bool {
	m := make(map[T]bool, len(list))
	for _, v := range list {
		m[v] = true
	}
	return m
}

// quote is a name as a plugin wrote it, fit for an error.
func quote(name string) string { return strconv.Quote(name[:min(len(name), 200)]) }

var (
	_ sdk.CacheReader   = (*RemoteCache)(nil)
	_ sdk.BlobWriter    = (*RemoteCache)(nil)
	_ sdk.UploadPlanner = (*RemoteCache)(nil)
)
