package sdk

import (
	"context"
	"io"
)

// Cache keeps what earlier builds made: small records under keys, and blobs under their digests. The host never
// trusts a blob: it computes the digest of what it gets, and a wrong one is a miss.
//
// The host asks for all the records it may need in one call, then for the blobs those records name. It stores the
// blobs of a record before the record, so that a record never names what is not there yet; a blob may vanish later,
// and the host treats that as a miss of the record.
type Cache interface {
	RecordStore
	BlobStore
}

// RecordStore keeps records.
type RecordStore interface {
	// GetRecords returns those of the records that the cache holds, in any order. A key it does not hold is left out.
	GetRecords(ctx context.Context, keys []Key) ([]Record, error)
	// PutRecords stores the records, each whole or not at all, replacing what was under their keys.
	PutRecords(ctx context.Context, records []Record) error
}

// BlobStore keeps blobs.
type BlobStore interface {
	BlobReader
	BlobWriter
}

// CacheReader is a cache as a plugin offers it. One that can also be written to is a [BlobWriter] or, better, an
// [UploadPlanner] as well; the host asks for neither of a cache that the user gave only the role "read".
type CacheReader interface {
	RecordStore
	BlobReader
}

// BlobReader answers with blobs.
type BlobReader interface {
	// StatBlobs returns those of the blobs that the cache holds, in any order.
	StatBlobs(ctx context.Context, digests []Digest) ([]Blob, error)
	// GetBlob returns the content of a blob, or an error wrapping [ErrNotFound].
	GetBlob(ctx context.Context, digest Digest) (Content, error)
}

// BlobWriter takes blobs.
type BlobWriter interface {
	// PutBlob stores a blob, whole or not at all. A nil error means that the cache holds the blob, not that this
	// call stored it. PutBlob reads content.Open or takes content.File, whichever suits it, and keeps neither after
	// it returned.
	PutBlob(ctx context.Context, blob Blob, content Content) error
}

// Key names a record. Keys are lower-case letters, digits, '-', '/' and ':', at most 200 bytes; a '/' separates the
// kind of the record from the rest.
type Key string

// Record is a small value under a key, at most 1 MiB.
type Record struct {
	Key   Key    `json:"key"`
	Value []byte `json:"value"`
}

// Digest is the digest of a blob, such as "sha256:2cf2…".
type Digest string

// Blob says what a blob is.
type Blob struct {
	Digest Digest `json:"digest"`
	Size   int64  `json:"size"` // bytes
}

// Content is how the bytes of a blob are reached: by Open, by Transfer, or as a File, which comes with Open.
type Content struct {
	// Open opens the bytes from the start. Each call opens them anew; the caller closes what it got. Of what a plugin is
	// given to store, Open works once: the bytes come through a stream.
	Open func(ctx context.Context) (io.ReadCloser, error)
	// Transfer says how the host gets the bytes itself. Only a plugin's answer has it, and then nothing else.
	Transfer *Transfer
	// File is the path of a regular file that holds exactly the bytes, or empty. Its receiver may read it or link
	// to it, and must not write to it. Whoever offers a file vouches for its digest and will not write to it again; a
	// receiver may check the length alone.
	File string
}
