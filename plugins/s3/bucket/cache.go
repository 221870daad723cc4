package bucket

import (
	"context"
	"strconv"

	"github.com/trowel-build/trowel/sdk"
)

// maxRecord is the most bytes that a record may have.
const maxRecord = 1 << 20

// GetRecords gets all records in one batch of requests.
func (b *Bucket) GetRecords(ctx context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	var requests []sdk.HTTPRequest
	var asked []sdk.Key
	seen := map[sdk.Key]bool{}
	for _, key := range keys {
		url, ok := b.address.record(key)
		if !ok || seen[key] {
			continue // there is none under a key that is none
		}
		seen[key] = true
		request := b.request("GET", url)
		request.MaxBytes = maxRecord
		requests, asked = append(requests, request), append(asked, key)
	}
	answers, err := b.all(ctx, requests)
	if err != nil {
		return nil, err
	}
	var records []sdk.Record
	for i, r := range answers {
		switch {
		case r.Error == nil && r.Status == 200:
			records = append(records, sdk.Record{Key: asked[i], Value: r.Body})
		case missing(r):
		case r.Error != nil && r.Error.Code == sdk.CodeLimit:
			sdk.Log(ctx, sdk.LevelWarning, "record "+string(asked[i])+" is larger than a record can be, and not believed")
		default:
			return nil, b.fault("get record "+strconv.Quote(string(asked[i])), r)
		}
	}
	return records, nil
}

// missing says whether an answer is that there is no such object. The answer to a HEAD cannot tell an object that is
// missing from a bucket.
func missing(r sdk.HTTPResponse) bool {
	return r.Error == nil && r.Status == 404 && element(string(r.Body), "Code") != "NoSuchBucket" &&
		r.Get("X-Minio-Error-Code") != "NoSuchBucket"
}

// PutRecords puts all records in one batch of requests. S3 shows an object whole or not at all.
func (b *Bucket) PutRecords(ctx context.Context, records []sdk.Record) error {
	place := map[sdk.Key]int{}
	var requests []sdk.HTTPRequest
	for _, record := range records {
		url, ok := b.address.record(record.Key)
		if !ok {
			return &sdk.Error{Code: sdk.CodeInvalid, Message: "put record: " + quote(string(record.Key)) + " is no key"}
		}
		if len(record.Value) > maxRecord {
			return &sdk.Error{Code: sdk.CodeLimit, Message: "put record " + quote(string(record.Key)) + ": it has " +
				strconv.Itoa(len(record.Value)) + " bytes, and may have 1 MiB"}
		}
		request := b.request("PUT", url)
		request.Header = []sdk.Header{{Name: "Content-Type", Value: "application/octet-stream"}}
		request.Body = record.Value
		if i, twice := place[record.Key]; twice {
			requests[i] = request // the later one counts, and requests have no order
			continue
		}
		place[record.Key] = len(requests)
		requests = append(requests, request)
	}
	answers, err := b.all(ctx, requests)
	if err != nil {
		return err
	}
	for _, r := range answers {
		if r.Error != nil || r.Status != 200 {
			return b.fault("put record", r)
		}
	}
	return nil
}

// StatBlobs asks for all blobs in one batch of requests.
func (b *Bucket) StatBlobs(ctx context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	var requests []sdk.HTTPRequest
	var asked []sdk.Digest
	seen := map[sdk.Digest]bool{}
	for _, digest := range digests {
		url, ok := b.address.blob(digest)
		if !ok || seen[digest] {
			continue
		}
		seen[digest] = true
		requests, asked = append(requests, b.request("HEAD", url)), append(asked, digest)
	}
	answers, err := b.all(ctx, requests)
	if err != nil {
		return nil, err
	}
	var blobs []sdk.Blob
	for i, r := range answers {
		if missing(r) {
			continue
		}
		size, err := b.size(asked[i], r)
		if err != nil {
			return nil, err
		}
		blobs = append(blobs, sdk.Blob{Digest: asked[i], Size: size})
	}
	return blobs, nil
}

// size reads the answer to a HEAD.
func (b *Bucket) size(digest sdk.Digest, r sdk.HTTPResponse) (int64, error) {
	what := "look up blob " + strconv.Quote(string(digest))
	if r.Error != nil || r.Status != 200 {
		return 0, b.fault(what, r)
	}
	size, err := strconv.ParseInt(r.Get("Content-Length"), 10, 64)
	if err != nil || size < 0 {
		return 0, &sdk.Error{Code: sdk.CodeInternal, Message: what + ": " + b.address.host + " does not say its length"}
	}
	return size, nil
}

// stat asks for a blob; it is held if the size is not negative.
func (b *Bucket) stat(ctx context.Context, digest sdk.Digest, url string) (int64, error) {
	r, err := b.one(ctx, b.request("HEAD", url))
	if err != nil {
		return 0, err
	}
	if missing(r) {
		return -1, nil
	}
	return b.size(digest, r)
}

// GetBlob plans a download, in ranges at once if the host likes.
func (b *Bucket) GetBlob(ctx context.Context, digest sdk.Digest) (sdk.Content, error) {
	url, ok := b.address.blob(digest)
	if !ok {
		return sdk.Content{}, noDigest(digest)
	}
	size, err := b.stat(ctx, digest, url)
	if err != nil {
		return sdk.Content{}, err
	}
	if size < 0 {
		return sdk.Content{}, &sdk.Error{Code: sdk.CodeNotFound, Message: "get blob " + strconv.Quote(string(digest)) + ": not found"}
	}
	signed, expires, err := b.presign(ctx, "GET", url)
	if err != nil {
		return sdk.Content{}, err
	}
	return sdk.Content{Transfer: &sdk.Transfer{
		Parts:  []sdk.TransferPart{{Method: "GET", URL: signed, Length: size}},
		Ranges: true, Expires: expires,
	}}, nil
}

func noDigest(digest sdk.Digest) error {
	return &sdk.Error{Code: sdk.CodeInvalid, Message: quote(string(digest)) + " is no SHA-256 digest"}
}

// quote keeps what an error quotes readable.
func quote(s string) string {
	const most = 100
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}
