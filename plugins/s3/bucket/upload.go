package bucket

import (
	"context"
	"strconv"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

const (
	// validity is how long a signed URL may be used; the host asks for others when it is over.
	validity = time.Hour
	// margin is for the time between signing and sending, and for clocks.
	margin = 2 * time.Minute
)

// presign has the host make a URL that needs no other signature.
func (b *Bucket) presign(ctx context.Context, method, url string) (string, time.Time, error) {
	aws := b.signed()
	aws.HTTPMethod, aws.URL, aws.PresignSeconds = method, url, int64(validity/time.Second)
	expires := time.Now().Add(validity - margin)
	signed, err := sdk.Sign(ctx, sdk.SignRequest{Method: sdk.SignAWS4, Secret: b.secret, AWS: aws})
	if err == nil && signed.URL == "" {
		err = &sdk.Error{Code: sdk.CodeInternal, Message: "the host signed a URL and did not give it"}
	}
	return signed.URL, expires, err
}

// PlanPut plans the upload of a blob: one request for a small one, and a multipart upload for others, unless they are there.
func (b *Bucket) PlanPut(ctx context.Context, blob sdk.Blob) (sdk.Transfer, error) {
	url, ok := b.address.blob(blob.Digest)
	if !ok {
		return sdk.Transfer{}, noDigest(blob.Digest)
	}
	what := "put blob " + strconv.Quote(string(blob.Digest))
	if blob.Size < 0 || blob.Size > maxBlob {
		return sdk.Transfer{}, &sdk.Error{Code: sdk.CodeInvalid, Message: what + ": its size is " + strconv.FormatInt(blob.Size, 10) + " bytes, and S3 takes up to 5 TiB"}
	}
	if blob.Size <= b.partSize {
		// To ask whether it is there would take as long as to send it, and sending mends one that is damaged.
		signed, expires, err := b.presign(ctx, "PUT", url)
		return sdk.Transfer{Expires: expires, Parts: []sdk.TransferPart{{Method: "PUT", URL: signed, Expect: []int{200}}}}, err
	}
	size, err := b.stat(ctx, blob.Digest, url)
	if err != nil || size == blob.Size {
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

// planParts signs a URL for each part.
func (b *Bucket) planParts(ctx context.Context, url, id string, size int64) (sdk.Transfer, error) {
	plan := sdk.Transfer{Token: id}
	length := partSize(b.partSize, size)
	for at, number := int64(0), 1; at < size; at, number = at+length, number+1 {
		query := "?partNumber=" + strconv.Itoa(number) + "&uploadId=" + escape(id)
		signed, expires, err := b.presign(ctx, "PUT", url+query)
		if err != nil {
			return sdk.Transfer{}, err
		}
		if number == 1 {
			plan.Expires = expires
		}
		plan.Parts = append(plan.Parts, sdk.TransferPart{
			Method: "PUT", URL: signed, Offset: at, Length: min(length, size-at), Expect: []int{200},
		})
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
	url, ok := b.address.blob(blob.Digest)
	if !ok {
		return noDigest(blob.Digest)
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
		if size, err := b.stat(ctx, blob.Digest, url); err == nil && size == blob.Size {
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
		if err != nil || r.Error != nil || r.Status != 200 || completed(r) || attempt == attempts {
			return r, err
		}
		switch element(string(r.Body), "Code") {
		case "", "InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout", "OperationAborted":
		default:
			return r, nil
		}
		if err := pause(ctx, firstPause<<(attempt-1)); err != nil {
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
