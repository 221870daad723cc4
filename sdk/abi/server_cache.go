package abi

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/trowel-build/trowel/sdk"
)

func (s *Server) handleCache(ctx context.Context, host Host, op Op, request []byte) []byte {
	cache := get(s, &s.cache)
	if cache == nil {
		return Fail(notStarted(sdk.KindCache))
	}
	switch op {
	case OpGetRecords:
		return handle(request, DecodeGetRecordsRequest, AppendGetRecordsResponse, func(q GetRecordsRequest) (a GetRecordsResponse, err error) {
			a.Records, err = cache.GetRecords(ctx, q.Keys)
			return a, err
		})
	case OpPutRecords:
		return handle(request, DecodePutRecordsRequest, AppendEmpty, func(q PutRecordsRequest) (Empty, error) {
			return Empty{}, cache.PutRecords(ctx, q.Records)
		})
	case OpStatBlobs:
		return handle(request, DecodeStatBlobsRequest, AppendStatBlobsResponse, func(q StatBlobsRequest) (a StatBlobsResponse, err error) {
			a.Blobs, err = cache.StatBlobs(ctx, q.Digests)
			return a, err
		})
	case OpGetBlob:
		return handle(request, DecodeGetBlobRequest, AppendGetBlobResponse, func(q GetBlobRequest) (GetBlobResponse, error) {
			return getBlob(ctx, host, cache, q)
		})
	}
	return handlePut(ctx, host, cache, op, request)
}

func handlePut(ctx context.Context, host Host, cache sdk.CacheReader, op Op, request []byte) []byte {
	if op == OpPutBlob {
		writer, ok := cache.(sdk.BlobWriter)
		if !ok {
			return Fail(unsupported("the plugin has not the feature " + FeatureBlobWriter))
		}
		return handle(request, DecodePutBlobRequest, AppendEmpty, func(q PutBlobRequest) (Empty, error) {
			return Empty{}, writer.PutBlob(ctx, q.Blob, streamContent(host, q.Source))
		})
	}
	planner, ok := cache.(sdk.UploadPlanner)
	if !ok {
		return Fail(unsupported("the plugin has not the feature " + FeatureUploadPlanner))
	}
	if op == OpPlanPut {
		return handle(request, DecodePlanPutRequest, AppendPlanPutResponse, func(q PlanPutRequest) (a PlanPutResponse, err error) {
			a.Transfer, err = planner.PlanPut(ctx, q.Blob)
			return a, err
		})
	}
	return handle(request, DecodeFinishPutRequest, AppendEmpty, func(q FinishPutRequest) (Empty, error) {
		return Empty{}, planner.FinishPut(ctx, q.Blob, q.Done)
	})
}

// getBlob answers with the transfer or the file that the cache gave, or copies what it opens into the sink.
func getBlob(ctx context.Context, host Host, cache sdk.CacheReader, q GetBlobRequest) (_ GetBlobResponse, err error) {
	content, err := cache.GetBlob(ctx, q.Digest)
	if err != nil {
		return GetBlobResponse{}, err
	}
	switch {
	case content.Transfer != nil:
		return GetBlobResponse{Transfer: content.Transfer}, nil
	case content.File != "" && sharesFiles(host):
		return GetBlobResponse{File: content.File}, nil
	case content.Open == nil:
		return GetBlobResponse{}, &sdk.Error{Code: sdk.CodeInternal, Message: "GetBlob gave content without Open, Transfer or File"}
	}
	from, err := content.Open(ctx)
	if err != nil {
		return GetBlobResponse{}, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	n, err := copyAll(ctx, host.Writer(ctx, q.Sink), from)
	return GetBlobResponse{Streamed: n}, err
}

// streamContent is content that comes by a stream, which can be read once alone.
func streamContent(host Host, stream uint32) sdk.Content {
	var opened atomic.Bool
	return sdk.Content{Open: func(ctx context.Context) (io.ReadCloser, error) {
		if opened.Swap(true) {
			return nil, unsupported("the content of a blob that is being put comes in a stream and can be opened once: keep what has to be read again")
		}
		return io.NopCloser(host.Reader(ctx, stream)), nil
	}}
}
