package bucket

import (
	"context"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/objects"
)

// store is the bucket as a cache whose uploads are in one part.
func (b *Bucket) store() objects.Store {
	return objects.Store{
		Request: func(method, object string) sdk.HTTPRequest { return b.request(method, b.address.base+object) },
		Fault: func(doing string, answer sdk.HTTPResponse) error {
			if missing(answer) {
				return nil
			}
			return b.fault(doing, answer)
		},
	}
}

// request makes a request that the host signs.
func (b *Bucket) request(method, url string) sdk.HTTPRequest {
	r := sdk.HTTPRequest{
		Method: method, URL: url,
		Sign: &sdk.SignRequest{Method: sdk.SignAWS4, Secret: b.secret, AWS: &sdk.AWSRequest{
			AccessKeyID: b.accessKeyID, SessionToken: b.sessionToken, Region: b.region, Service: "s3",
		}},
		WantHeader: []string{"Content-Length", "X-Minio-Error-Code", "X-Minio-Error-Desc", "X-Amz-Bucket-Region"},
	}
	if method == "PUT" {
		r.Header = []sdk.Header{{Name: "Content-Type", Value: "application/octet-stream"}}
	}
	return r
}

// one makes a request.
func (b *Bucket) one(ctx context.Context, request sdk.HTTPRequest) (sdk.HTTPResponse, error) {
	answers, err := objects.Send(ctx, request)
	if err != nil {
		return sdk.HTTPResponse{}, err
	}
	return answers[0], nil
}

// missing says whether an answer is that there is no such object. The answer to a HEAD cannot tell an object that is
// missing from a bucket.
func missing(r sdk.HTTPResponse) bool {
	return r.Error == nil && r.Status == 404 && element(string(r.Body), "Code") != "NoSuchBucket" &&
		r.Get("X-Minio-Error-Code") != "NoSuchBucket"
}
