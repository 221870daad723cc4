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

// wantHeader are the fields of answers that anybody reads.
var wantHeader = []string{"Content-Length", "X-Minio-Error-Code", "X-Minio-Error-Desc", "X-Amz-Bucket-Region"}

// signature says how the host signs. All requests share it.
func (s *settings) signature() *sdk.SignRequest {
	return &sdk.SignRequest{Method: sdk.SignAWS4, Secret: s.secret, AWS: &sdk.AWSRequest{
		AccessKeyID: s.accessKeyID, SessionToken: s.sessionToken, Region: s.region, Service: "s3",
	}}
}

// request makes a request that the host signs.
func (b *Bucket) request(method, url string) sdk.HTTPRequest {
	r := sdk.HTTPRequest{Method: method, URL: url, Sign: b.sign, WantHeader: wantHeader}
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
