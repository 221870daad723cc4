package objects

import (
	"context"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

const (
	// validity is how long a signed URL may be used; the host asks for others when it is over.
	validity = time.Hour
	// margin is for the time between signing and sending, and for clocks.
	margin = 2 * time.Minute
)

// Transfer plans a request that moves a whole blob. One with Sign gets a URL that needs no other signature, for an hour.
func Transfer(ctx context.Context, request sdk.HTTPRequest) (sdk.Transfer, error) {
	part := sdk.TransferPart{Method: request.Method, URL: request.URL, Header: request.Header}
	plan := sdk.Transfer{Redirect: request.Redirect}
	if request.Sign != nil {
		plan.Expires = time.Now().Add(validity - margin)
		var err error
		if part.URL, err = presign(ctx, request); err != nil {
			return sdk.Transfer{}, err
		}
	}
	plan.Parts = []sdk.TransferPart{part}
	return plan, nil
}

func presign(ctx context.Context, request sdk.HTTPRequest) (string, error) {
	sign := *request.Sign
	if sign.AWS == nil {
		return "", &sdk.Error{Code: sdk.CodeUnsupported, Message: "only requests that AWS signs can move a blob"}
	}
	aws := *sign.AWS
	aws.HTTPMethod, aws.URL, aws.PresignSeconds = request.Method, request.URL, int64(validity/time.Second)
	sign.AWS = &aws
	signed, err := sdk.Sign(ctx, sign)
	if err == nil && signed.URL == "" {
		err = &sdk.Error{Code: sdk.CodeInternal, Message: "the host signed a URL and did not give it"}
	}
	return signed.URL, err
}
