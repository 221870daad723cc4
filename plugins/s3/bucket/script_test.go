package bucket

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/objects"
)

// script answers requests; it counts calls and keeps what was asked.
type script struct {
	answer func(n int, q sdk.HTTPRequest) sdk.HTTPResponse // n counts the requests, from 1
	calls  int
	asked  []sdk.HTTPRequest
	most   int // answers in one call; more are too much
}

func (s *script) HTTP(_ context.Context, requests []sdk.HTTPRequest) ([]sdk.HTTPResponse, error) {
	s.calls++
	if s.most > 0 && len(requests) > s.most {
		return nil, &sdk.Error{Code: sdk.CodeLimit, Message: "too much"}
	}
	var out []sdk.HTTPResponse
	for _, q := range requests {
		s.asked = append(s.asked, q)
		out = append(out, s.answer(len(s.asked), q))
	}
	return out, nil
}

// Sign signs like a clerk who looks at nothing.
func (s *script) Sign(_ context.Context, q sdk.SignRequest) (sdk.SignResponse, error) {
	return sdk.SignResponse{URL: q.AWS.URL + "#" + q.AWS.HTTPMethod}, nil
}

func (s *script) lines() string {
	var lines []string
	for _, q := range s.asked {
		_, path, _ := strings.Cut(q.URL, "ci-cache/")
		lines = append(lines, q.Method+" "+path)
	}
	return strings.Join(lines, "\n")
}

func open(t *testing.T, s *script) (*Bucket, context.Context) {
	t.Helper()
	ctx := sdk.WithServices(t.Context(), sdk.Services{HTTP: s, Sign: s})
	b, err := New(ctx, sdk.NewConfig(map[string]any{
		"bucket": "ci-cache", "endpoint": "https://s3.test", "access-key-id": "ID", "session-token": "{{secret:token}}", "part-size": "5MiB",
	}))
	if err != nil {
		t.Fatal(err)
	}
	return b, ctx
}

func status(code int, body string) sdk.HTTPResponse {
	return sdk.HTTPResponse{Status: code, Body: []byte(body)}
}

func s3Error(code int, name string) sdk.HTTPResponse {
	return status(code, "<Error><Code>"+name+"</Code><Message>said so</Message></Error>")
}

// All look-ups of a build are one call, signed by reference.
func TestOneBatch(t *testing.T) {
	t.Parallel()
	s := &script{answer: func(_ int, q sdk.HTTPRequest) sdk.HTTPResponse {
		if strings.HasSuffix(q.URL, "7") {
			return s3Error(404, "NoSuchKey")
		}
		return status(200, "v")
	}}
	b, ctx := open(t, s)
	var keys []sdk.Key
	for i := range 30 {
		keys = append(keys, sdk.Key(fmt.Sprint("definition/", i)))
	}
	keys = append(keys, keys[0], "Not A Key")
	records, err := b.GetRecords(ctx, keys)
	if err != nil || len(records) != 27 || s.calls != 1 || len(s.asked) != 30 {
		t.Errorf("%d records in %d calls of %d requests: %v", len(records), s.calls, len(s.asked), err)
	}
	want := &sdk.SignRequest{Method: sdk.SignAWS4, Secret: "s3", AWS: &sdk.AWSRequest{
		AccessKeyID: "ID", SessionToken: "{{secret:token}}", Region: "us-east-1", Service: "s3",
	}}
	if diff := cmp.Diff(want, s.asked[0].Sign); diff != "" {
		t.Errorf("signed so (-want +got):\n%s", diff)
	}
}

// Only what failed in passing is asked again.
func TestRetries(t *testing.T) {
	t.Parallel()
	s := &script{}
	s.answer = func(n int, _ sdk.HTTPRequest) sdk.HTTPResponse {
		switch n {
		case 2:
			return s3Error(503, "SlowDown")
		case 4:
			return sdk.HTTPResponse{Error: &sdk.Error{Code: sdk.CodeUnavailable, Message: "reset"}}
		}
		return status(200, "v")
	}
	b, ctx := open(t, s)
	records, err := b.GetRecords(ctx, []sdk.Key{"a", "b", "c", "d"})
	if err != nil || len(records) != 4 || s.calls != 2 {
		t.Errorf("%d records in %d calls: %v", len(records), s.calls, err)
	}
	if diff := cmp.Diff("GET records/a\nGET records/b\nGET records/c\nGET records/d\nGET records/b\nGET records/d", s.lines()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	s = &script{answer: func(int, sdk.HTTPRequest) sdk.HTTPResponse { return s3Error(500, "InternalError") }}
	b, ctx = open(t, s)
	err = b.PutRecords(ctx, []sdk.Record{{Key: "a"}})
	if e := sdk.AsError(err); e.Code != sdk.CodeUnavailable || !e.Retryable || s.calls != objects.Attempts {
		t.Errorf("%d calls, error %v", s.calls, err)
	}
}

// What does not fit into a message goes in halves.
func TestHalves(t *testing.T) {
	t.Parallel()
	s := &script{most: 3, answer: func(_ int, q sdk.HTTPRequest) sdk.HTTPResponse {
		return status(200, q.URL[len(q.URL)-1:])
	}}
	b, ctx := open(t, s)
	records, err := b.GetRecords(ctx, []sdk.Key{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"})
	if err != nil || len(records) != 10 {
		t.Fatalf("%d records: %v", len(records), err)
	}
	for i, r := range records {
		if string(r.Value) != string(r.Key) || string(r.Key) != fmt.Sprint(i) {
			t.Errorf("record %d is %s: %s", i, r.Key, r.Value)
		}
	}
}

func TestPutRecords(t *testing.T) {
	t.Parallel()
	s := &script{answer: func(int, sdk.HTTPRequest) sdk.HTTPResponse { return status(200, "") }}
	b, ctx := open(t, s)
	err := b.PutRecords(ctx, []sdk.Record{{Key: "a", Value: []byte("1")}, {Key: "b"}, {Key: "a", Value: []byte("2")}})
	if err != nil || len(s.asked) != 2 || string(s.asked[0].Body) != "2" {
		t.Errorf("%d requests, error %v", len(s.asked), err)
	}
	big := make([]byte, 1<<20)
	var many []sdk.Record
	for i := range 20 {
		many = append(many, sdk.Record{Key: sdk.Key(fmt.Sprint(i)), Value: big})
	}
	s.calls = 0
	if err := b.PutRecords(ctx, many); err != nil || s.calls != 4 {
		t.Errorf("20 MiB went in %d calls: %v", s.calls, err)
	}
	for _, bad := range []sdk.Record{{Key: "A"}, {Key: "a", Value: make([]byte, 1<<20+1)}} {
		s.calls = 0
		if err := b.PutRecords(ctx, []sdk.Record{{Key: "good"}, bad}); err == nil || s.calls > 0 {
			t.Errorf("a bad record: error %v after %d calls", err, s.calls)
		}
	}
}

const uploadAnswer = "<InitiateMultipartUploadResult><UploadId>id/+&amp;1</UploadId></InitiateMultipartUploadResult>"

func TestPlanPut(t *testing.T) {
	t.Parallel()
	s := &script{answer: func(_ int, q sdk.HTTPRequest) sdk.HTTPResponse {
		if q.Method == "HEAD" {
			return status(404, "")
		}
		return status(200, uploadAnswer)
	}}
	b, ctx := open(t, s)
	small, err := b.PlanPut(ctx, sdk.Blob{Digest: "sha256:" + sum, Size: 5 << 20})
	if err != nil || len(small.Parts) != 1 || small.Token != "" || s.calls != 0 || small.Expires.IsZero() {
		t.Errorf("small: %v after %d calls: %v", small, s.calls, err)
	}
	large, err := b.PlanPut(ctx, sdk.Blob{Digest: "sha256:" + sum, Size: 10<<20 + 1})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range large.Parts {
		_, query, _ := strings.Cut(p.URL, "?")
		got = append(got, fmt.Sprintf("%s %d+%d %s", p.Method, p.Offset, p.Length, query))
	}
	want := []string{
		"PUT 0+5242880 partNumber=1&uploadId=id%2F%2B%261#PUT",
		"PUT 5242880+5242880 partNumber=2&uploadId=id%2F%2B%261#PUT",
		"PUT 10485760+1 partNumber=3&uploadId=id%2F%2B%261#PUT",
	}
	if diff := cmp.Diff(want, got); diff != "" || large.Token != "id/+&1" {
		t.Errorf("token %q, parts (-want +got):\n%s", large.Token, diff)
	}
	if diff := cmp.Diff("HEAD blobs/sha256/"+sum+"\nPOST blobs/sha256/"+sum+"?uploads=", s.lines()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	for _, blob := range []sdk.Blob{{Digest: "sha256:" + sum, Size: -1}, {Digest: "sha256:" + sum, Size: maxBlob + 1}, {Digest: "md5:x"}} {
		if _, err := b.PlanPut(ctx, blob); sdk.AsError(err).Code != sdk.CodeInvalid {
			t.Errorf("%v: error %v", blob, err)
		}
	}
}

// S3 says 200 and means an error; an answer may be lost; what failed is removed.
func TestFinishPut(t *testing.T) {
	t.Parallel()
	const done = "<CompleteMultipartUploadResult/>"
	const late = "<?xml version=\"1.0\"?>\n<Error><Code>InternalError</Code><Message>try again</Message></Error>"
	head := sdk.HTTPResponse{Status: 200, Header: []sdk.Header{{Name: "content-length", Value: "7"}}}
	for _, tt := range []struct {
		name    string
		answers []sdk.HTTPResponse
		methods string
		want    sdk.ErrorCode
	}{
		{"good", []sdk.HTTPResponse{status(200, done)}, "POST", ""},
		{"late error, then good", []sdk.HTTPResponse{status(200, late), status(200, done)}, "POST POST", ""},
		{"nothing, then good", []sdk.HTTPResponse{status(200, "  "), status(200, done)}, "POST POST", ""},
		{"lost answer", []sdk.HTTPResponse{s3Error(500, "x"), s3Error(404, "NoSuchUpload"), head}, "POST POST HEAD", ""},
		{"lost upload", []sdk.HTTPResponse{s3Error(404, "NoSuchUpload"), status(404, ""), status(404, "")}, "POST HEAD DELETE", sdk.CodeInternal},
		{"late error for good", []sdk.HTTPResponse{s3Error(200, "InvalidPart"), status(204, "")}, "POST DELETE", sdk.CodeInternal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &script{answer: func(n int, _ sdk.HTTPRequest) sdk.HTTPResponse { return tt.answers[n-1] }}
			b, ctx := open(t, s)
			err := b.FinishPut(ctx, sdk.Blob{Digest: "sha256:" + sum, Size: 7}, sdk.TransferResult{
				Token: "id", Parts: []sdk.PartResult{{Header: []sdk.Header{{Name: "Etag", Value: `"e"`}}}},
			})
			if (err != nil) != (tt.want != "") || err != nil && sdk.AsError(err).Code != tt.want {
				t.Errorf("error %v", err)
			}
			var methods []string
			for _, q := range s.asked {
				methods = append(methods, q.Method)
			}
			if diff := cmp.Diff(tt.methods, strings.Join(methods, " ")); diff != "" {
				t.Errorf("methods (-want +got):\n%s", diff)
			}
		})
	}
	b, ctx := open(t, &script{})
	blob := sdk.Blob{Digest: "sha256:" + sum}
	if err := b.FinishPut(ctx, blob, sdk.TransferResult{Parts: []sdk.PartResult{{}}}); err != nil {
		t.Errorf("a blob that was sent whole: %v", err)
	}
	if err := b.FinishPut(ctx, blob, sdk.TransferResult{Token: "id", Parts: []sdk.PartResult{{}}}); err == nil {
		t.Error("a part without ETag passes")
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	region := status(400, "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>eu-west-1</Region></Error>")
	moved := sdk.HTTPResponse{Status: 301, Header: []sdk.Header{{Name: "x-amz-bucket-region", Value: "eu-west-2"}}}
	minioHead := sdk.HTTPResponse{Status: 404, Header: []sdk.Header{{Name: "X-Minio-Error-Code", Value: "NoSuchBucket"}}}
	for _, tt := range []struct {
		name   string
		answer sdk.HTTPResponse
		code   sdk.ErrorCode
		want   string
	}{
		{"no bucket", s3Error(404, "NoSuchBucket"), sdk.CodeInvalid, `create the bucket "ci-cache"`},
		{"no bucket, HEAD", minioHead, sdk.CodeInvalid, `create the bucket "ci-cache"`},
		{"signature", s3Error(403, "SignatureDoesNotMatch"), sdk.CodeUnauthorized, `grant "s3" is not the secret access key`},
		{"clock", s3Error(403, "RequestTimeTooSkewed"), sdk.CodeUnauthorized, "the clock of this machine"},
		{"token", s3Error(400, "ExpiredToken"), sdk.CodeUnauthorized, "session-token is missing, has expired"},
		{"denied", s3Error(403, "AccessDenied"), sdk.CodeUnauthorized, "s3:ListBucket"},
		{"region", region, sdk.CodeInvalid, `set region = "eu-west-1"`},
		{"moved", moved, sdk.CodeInvalid, `set region = "eu-west-2"`},
		{"the host's", sdk.HTTPResponse{Error: &sdk.Error{Code: sdk.CodeDenied, Message: "not granted"}}, sdk.CodeDenied, "not granted"},
		{"other", status(418, "teapot"), sdk.CodeInternal, "s3.test answered 418"},
	} {
		s := &script{answer: func(int, sdk.HTTPRequest) sdk.HTTPResponse { return tt.answer }}
		b, ctx := open(t, s)
		_, err := b.GetRecords(ctx, []sdk.Key{"k"})
		if sdk.AsError(err).Code != tt.code || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: get record: %v", tt.name, err)
		}
		_, err = b.StatBlobs(ctx, []sdk.Digest{"sha256:" + sum})
		if sdk.AsError(err).Code != tt.code || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: stat blob: %v", tt.name, err)
		}
	}
}

func TestGetBlob(t *testing.T) {
	t.Parallel()
	s := &script{answer: func(int, sdk.HTTPRequest) sdk.HTTPResponse {
		return sdk.HTTPResponse{Status: 200, Header: []sdk.Header{{Name: "Content-Length", Value: "12"}}}
	}}
	b, ctx := open(t, s)
	content, err := b.GetBlob(ctx, "sha256:"+sum)
	if err != nil || content.Transfer == nil || !content.Transfer.Ranges || content.Transfer.Parts[0].Length != 12 || s.calls != 1 {
		t.Errorf("%v after %d calls: %v", content, s.calls, err)
	}
	s.answer = func(int, sdk.HTTPRequest) sdk.HTTPResponse { return status(404, "") }
	if _, err := b.GetBlob(ctx, "sha256:"+sum); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("error %v does not wrap sdk.ErrNotFound", err)
	}
	if _, err := b.GetBlob(ctx, "sha256:../x"); sdk.AsError(err).Code != sdk.CodeInvalid {
		t.Errorf("error %v", err)
	}
	s.answer = func(int, sdk.HTTPRequest) sdk.HTTPResponse { return status(200, "") }
	if _, err := b.GetBlob(ctx, "sha256:"+sum); err == nil {
		t.Error("an answer without a length passes")
	}
}
