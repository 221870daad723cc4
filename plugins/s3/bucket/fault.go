package bucket

import (
	"strconv"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/objects"
)

// fault is the error of an answer that is not success: what the server says, and what to do about it.
func (b *Bucket) fault(what string, r sdk.HTTPResponse) error {
	if r.Error != nil {
		e := *r.Error
		e.Message = what + ": " + r.Error.Error()
		return &e
	}
	code, message := element(string(r.Body), "Code"), element(string(r.Body), "Message")
	if code == "" { // the answer to a HEAD has no body; MinIO has this field
		code, message = r.Get("X-Minio-Error-Code"), r.Get("X-Minio-Error-Desc")
	}
	e := &sdk.Error{Code: sdk.CodeInternal, Message: what + ": " + b.address.host + " answered " + strconv.Itoa(r.Status)}
	if code != "" {
		e.Message += " " + code
	}
	if message != "" {
		e.Message += ": " + message
	}
	if hint := b.explain(e, code, r); hint != "" {
		e.Message += " (" + hint + ")"
	}
	return e
}

// explain gives the error its code and says what the user can do.
func (b *Bucket) explain(e *sdk.Error, code string, r sdk.HTTPResponse) string {
	switch code {
	case "NoSuchBucket":
		e.Code = sdk.CodeInvalid
		return "create the bucket " + strconv.Quote(b.bucket) + ", or correct bucket, endpoint and path-style in the config"
	case "SignatureDoesNotMatch":
		e.Code = sdk.CodeUnauthorized
		return "the secret of the grant " + strconv.Quote(b.secret) + " is not the secret access key of access-key-id"
	case "InvalidAccessKeyId":
		e.Code = sdk.CodeUnauthorized
		return "correct access-key-id; a temporary one needs session-token, too"
	case "ExpiredToken", "InvalidToken", "InvalidTokenId", "TokenRefreshRequired":
		e.Code = sdk.CodeUnauthorized
		return "session-token is missing, has expired or is that of another key"
	case "RequestTimeTooSkewed":
		e.Code = sdk.CodeUnauthorized
		return "the clock of this machine differs from the server's by more than 15 minutes: set it"
	case "AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException", "AuthorizationQueryParametersError":
		e.Code = sdk.CodeInvalid
		return b.otherRegion(r)
	}
	switch {
	case r.Status == 401, r.Status == 403:
		e.Code = sdk.CodeUnauthorized
		return "reading needs s3:GetObject and s3:ListBucket, writing s3:PutObject"
	case r.Status == 301, r.Status == 307:
		e.Code = sdk.CodeInvalid
		return b.otherRegion(r)
	case objects.Passing(r):
		e.Code, e.Retryable = sdk.CodeUnavailable, true
	}
	return ""
}

// otherRegion tells where the bucket is, if the server says so.
func (b *Bucket) otherRegion(r sdk.HTTPResponse) string {
	region := element(string(r.Body), "Region")
	if region == "" {
		region = r.Get("X-Amz-Bucket-Region")
	}
	if region == "" || region == b.region {
		return "the bucket is in another region than " + strconv.Quote(b.region) + ", or at another endpoint"
	}
	return "set region = " + strconv.Quote(region)
}
