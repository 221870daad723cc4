package bucket

import (
	"context"
	"errors"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

const (
	attempts   = 6
	firstPause = 100 * time.Millisecond
	// A batch is one call of the host: more would not fit into a message.
	mostRequests = 256
	mostBytes    = 6 << 20
)

// request makes a request that the host signs.
func (b *Bucket) request(method, url string) sdk.HTTPRequest {
	return sdk.HTTPRequest{
		Method: method, URL: url,
		Sign:       &sdk.SignRequest{Method: sdk.SignAWS4, Secret: b.secret, AWS: b.signed()},
		WantHeader: []string{"Content-Length", "X-Minio-Error-Code", "X-Minio-Error-Desc", "X-Amz-Bucket-Region"},
	}
}

func (b *Bucket) signed() *sdk.AWSRequest {
	return &sdk.AWSRequest{AccessKeyID: b.accessKeyID, SessionToken: b.sessionToken, Region: b.region, Service: "s3"}
}

// all makes the requests, as many at once as fit in a message, and returns an answer for each, in order.
func (b *Bucket) all(ctx context.Context, requests []sdk.HTTPRequest) ([]sdk.HTTPResponse, error) {
	var answers []sdk.HTTPResponse
	for len(requests) > 0 {
		n, size := 0, 0
		for n < len(requests) && n < mostRequests && (n == 0 || size+len(requests[n].Body) <= mostBytes) {
			size += len(requests[n].Body)
			n++
		}
		got, err := persist(ctx, requests[:n])
		if err != nil {
			return nil, err
		}
		answers, requests = append(answers, got...), requests[n:]
	}
	return answers, nil
}

// one makes a request.
func (b *Bucket) one(ctx context.Context, request sdk.HTTPRequest) (sdk.HTTPResponse, error) {
	answers, err := persist(ctx, []sdk.HTTPRequest{request})
	if err != nil {
		return sdk.HTTPResponse{}, err
	}
	return answers[0], nil
}

// persist makes a batch of requests, and those again that failed for a reason that passes. All that we ask of S3 can be
// asked twice.
func persist(ctx context.Context, requests []sdk.HTTPRequest) ([]sdk.HTTPResponse, error) {
	answers := make([]sdk.HTTPResponse, len(requests))
	left := make([]int, len(requests))
	for i := range left {
		left[i] = i
	}
	for attempt := 1; ; attempt++ {
		batch := make([]sdk.HTTPRequest, len(left))
		for i, j := range left {
			batch[i] = requests[j]
		}
		got, err := fitting(ctx, batch)
		if err != nil {
			return nil, err
		}
		var again []int
		for i, j := range left {
			if answers[j] = got[i]; passing(got[i]) {
				again = append(again, j)
			}
		}
		if len(again) == 0 || attempt == attempts {
			return answers, nil
		}
		left = again
		if err := pause(ctx, firstPause<<(attempt-1)); err != nil {
			return nil, err
		}
	}
}

// fitting makes a batch in halves where all the answers are too much for one message.
func fitting(ctx context.Context, batch []sdk.HTTPRequest) ([]sdk.HTTPResponse, error) {
	got, err := sdk.HTTP(ctx, batch...)
	if e, ok := errors.AsType[*sdk.Error](err); ok && e.Code == sdk.CodeLimit && len(batch) > 1 {
		half := len(batch) / 2
		first, err := fitting(ctx, batch[:half])
		if err != nil {
			return nil, err
		}
		second, err := fitting(ctx, batch[half:])
		return append(first, second...), err
	}
	if err == nil && len(got) != len(batch) {
		err = &sdk.Error{Code: sdk.CodeInternal, Message: "the host answered another number of requests"}
	}
	return got, err
}

// passing says whether a request may fare better when it is made again.
func passing(r sdk.HTTPResponse) bool {
	if r.Error != nil {
		return r.Error.Retryable || r.Error.Code == sdk.CodeUnavailable
	}
	switch r.Status {
	case 408, 425, 429, 500, 502, 503, 504:
		return true
	}
	return false
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
