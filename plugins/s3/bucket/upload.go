package bucket

import (
	"context"
	"strconv"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/objects"
)

// PlanPut plans the upload of a blob: one request for a small one, and a multipart upload for others, unless they are there.
func (b *Bucket) PlanPut(ctx context.Context, blob sdk.Blob) (sdk.Transfer, error) {
	url, err := b.blob(blob.Digest)
	if err != nil {
		return sdk.Transfer{}, err
	}
	what := "put blob " + strconv.Quote(string(blob.Digest))
	if blob.Size < 0 || blob.Size > maxBlob {
		return sdk.Transfer{}, &sdk.Error{Code: sdk.CodeInvalid, Message: what + ": its size is " + strconv.FormatInt(blob.Size, 10) + " bytes, and S3 takes up to 5 TiB"}
	}
	if blob.Size <= b.partSize {
		// To ask whether it is there would take as long as to send it, and sending mends one that is damaged.
		return objects.Transfer(ctx, b.request("PUT", url))
	}
	if held, err := b.holds(ctx, blob); err != nil || held {
		return sdk.Transfer{}, err
	}
	r, err := b.one(ctx, b.request("POST", url+"?uploads="))
	if err != nil {
		return sdk.Transfer{}, err
	}
	id := element(string(r.Body), "UploadId")
	if r.Error != nil || r.Status != 200 || id == "" {
		return sdk.Transfer{}, b.fault(what, r)
	}
	return b.planParts(ctx, url, id, blob.Size)
}

// blob is the URL of a blob.
func (b *Bucket) blob(digest sdk.Digest) (string, error) {
	object, ok := objects.BlobName(digest)
	if !ok {
		return "", &sdk.Error{Code: sdk.CodeInvalid, Message: "put blob: it has no SHA-256 digest"}
	}
	return b.address.base + object, nil
}

// holds says whether the bucket has a blob, whole.
func (b *Bucket) holds(ctx context.Context, blob sdk.Blob) (bool, error) {
	held, err := b.StatBlobs(ctx, []sdk.Digest{blob.Digest})
	return err == nil && len(held) == 1 && held[0] == blob, err
}

// planParts signs a URL for each part.
func (b *Bucket) planParts(ctx context.Context, url, id string, size int64) (sdk.Transfer, error) {
	plan := sdk.Transfer{Token: id}
	length := partSize(b.partSize, size)
	for at, number := int64(0), 1; at < size; at, number = at+length, number+1 {
		query := "?partNumber=" + strconv.Itoa(number) + "&uploadId=" + escape(id)
		one, err := objects.Transfer(ctx, b.request("PUT", url+query))
		if err != nil {
			return sdk.Transfer{}, err
		}
		if number == 1 {
			plan.Expires = one.Expires
		}
		part := one.Parts[0]
		part.Offset, part.Length = at, min(length, size-at)
		plan.Parts = append(plan.Parts, part)
	}
	return plan, nil
}

// partSize is the wanted size of a part, or a larger one where there would be too many.
func partSize(wanted, size int64) int64 {
	const unit = 1 << 20
	least := (size + mostParts - 1) / mostParts
	return max(wanted, (least+unit-1)/unit*unit)
}

// FinishPut ends a multipart upload, which shows the object. There is nothing to be done for one that was sent whole.
func (b *Bucket) FinishPut(ctx context.Context, blob sdk.Blob, done sdk.TransferResult) error {
	if done.Token == "" {
		return nil
	}
	url, err := b.blob(blob.Digest)
	if err != nil {
		return err
	}
	what := "put blob " + strconv.Quote(string(blob.Digest))
	tags := make([]string, len(done.Parts))
	for i, part := range done.Parts {
		if tags[i] = sdk.HeaderValue(part.Header, "ETag"); tags[i] == "" {
			return &sdk.Error{Code: sdk.CodeInternal, Message: what + ": " + b.address.host + " gave part " + strconv.Itoa(i+1) + " no ETag"}
		}
	}
	upload := url + "?uploadId=" + escape(done.Token)
	r, err := b.complete(ctx, upload, completion(tags))
	if err != nil {
		return err
	}
	switch {
	case completed(r):
		return nil
	case element(string(r.Body), "Code") == "NoSuchUpload":
		// An answer that was lost was this upload's success, if the blob is there.
		if held, err := b.holds(ctx, blob); err == nil && held {
			return nil
		}
	}
	// What the server keeps of an upload that failed costs money; the bucket's lifecycle removes it where this fails.
	_, _ = b.one(ctx, b.request("DELETE", upload))
	return b.fault(what, r)
}

// complete asks S3 to make an object of the parts. It may answer 200 at once, and an error much later in the same answer.
func (b *Bucket) complete(ctx context.Context, upload string, document []byte) (sdk.HTTPResponse, error) {
	request := b.request("POST", upload)
	request.Header = []sdk.Header{{Name: "Content-Type", Value: "application/xml"}}
	request.Body = document
	for attempt := 1; ; attempt++ {
		r, err := b.one(ctx, request)
		if err != nil || r.Error != nil || r.Status != 200 || completed(r) || attempt == objects.Attempts {
			return r, err
		}
		switch element(string(r.Body), "Code") {
		case "", "InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout", "OperationAborted":
		default:
			return r, nil
		}
		if err := objects.Pause(ctx, attempt); err != nil {
			return r, err
		}
	}
}

// completed says whether the answer is that the object is there. A status of 200 is not enough.
func completed(r sdk.HTTPResponse) bool {
	root := rootElement(string(r.Body))
	return r.Error == nil && r.Status == 200 && root != "" && root != "Error"
}

var (
	_ sdk.CacheReader   = (*Bucket)(nil)
	_ sdk.UploadPlanner = (*Bucket)(nil)
)
