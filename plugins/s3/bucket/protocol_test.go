package bucket

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

const secretKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

// signature computes an AWS Signature Version 4 from what is on the wire: the path and the query as they stand there, the
// query without the signature.
func signature(method, path, query string, header http.Header, signed []string, hash, stamp, scope string) string {
	parameters := strings.Split(query, "&")
	slices.Sort(parameters)
	canonical := method + "\n" + path + "\n" + strings.Join(parameters, "&") + "\n"
	for _, name := range signed {
		canonical += name + ":" + strings.TrimSpace(header.Get(name)) + "\n"
	}
	canonical += "\n" + strings.Join(signed, ";") + "\n" + hash
	sum := sha256.Sum256([]byte(canonical))
	key := []byte("AWS4" + secretKey)
	for _, part := range append(strings.Split(scope, "/"), "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+hex.EncodeToString(sum[:])) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}

// The examples of AWS's documentation keep the function above honest.
func TestSignature(t *testing.T) {
	t.Parallel()
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	const scope = "20130524/us-east-1/s3/aws4_request"
	header := http.Header{
		"Host": {"examplebucket.s3.amazonaws.com"}, "Range": {"bytes=0-9"}, "X-Amz-Content-Sha256": {empty}, "X-Amz-Date": {"20130524T000000Z"},
	}
	got := signature("GET", "/test.txt", "", header, []string{"host", "range", "x-amz-content-sha256", "x-amz-date"}, empty, "20130524T000000Z", scope)
	if want := "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"; got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
	const query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
	got = signature("GET", "/test.txt", query, header, []string{"host"}, "UNSIGNED-PAYLOAD", "20130524T000000Z", scope)
	if want := "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"; got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
}

// signing is a host that signs and makes requests.
type signing struct{ now time.Time }

func (s signing) scope(a *sdk.AWSRequest) (stamp, scope string) {
	return s.now.Format("20060102T150405Z"), s.now.Format("20060102") + "/" + a.Region + "/" + a.Service + "/aws4_request"
}

func (s signing) HTTP(ctx context.Context, requests []sdk.HTTPRequest) ([]sdk.HTTPResponse, error) {
	var out []sdk.HTTPResponse
	for _, q := range requests {
		r, err := http.NewRequestWithContext(ctx, q.Method, q.URL, bytes.NewReader(q.Body))
		if err != nil {
			return nil, err
		}
		for _, h := range q.Header {
			r.Header.Set(h.Name, h.Value)
		}
		sum := sha256.Sum256(q.Body)
		hash := hex.EncodeToString(sum[:])
		stamp, scope := s.scope(q.Sign.AWS)
		r.Header.Set("Host", r.URL.Host) // for the signature alone
		r.Header.Set("X-Amz-Content-Sha256", hash)
		r.Header.Set("X-Amz-Date", stamp)
		signed := []string{"host", "x-amz-content-sha256", "x-amz-date"}
		r.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s", q.Sign.AWS.AccessKeyID,
			scope, strings.Join(signed, ";"), signature(r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header, signed, hash, stamp, scope)))
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			return nil, err
		}
		answer := sdk.HTTPResponse{Status: response.StatusCode, Body: body}
		for name := range response.Header {
			answer.Header = append(answer.Header, sdk.Header{Name: name, Value: response.Header.Get(name)})
		}
		out = append(out, answer)
	}
	return out, nil
}

func (s signing) Sign(_ context.Context, q sdk.SignRequest) (sdk.SignResponse, error) {
	u, err := url.Parse(q.AWS.URL)
	if err != nil {
		return sdk.SignResponse{}, err
	}
	stamp, scope := s.scope(q.AWS)
	query := []string{
		"X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Credential=" + url.QueryEscape(q.AWS.AccessKeyID+"/"+scope), "X-Amz-Date=" + stamp,
		fmt.Sprint("X-Amz-Expires=", q.AWS.PresignSeconds), "X-Amz-SignedHeaders=host",
	}
	if u.RawQuery != "" {
		query = append(query, u.RawQuery)
	}
	u.RawQuery = strings.Join(query, "&")
	sum := signature(q.AWS.HTTPMethod, u.EscapedPath(), u.RawQuery, http.Header{"Host": {u.Host}}, []string{"host"}, "UNSIGNED-PAYLOAD", stamp, scope)
	u.RawQuery += "&X-Amz-Signature=" + sum
	return sdk.SignResponse{URL: u.String()}, nil
}

// check verifies the signature of a request as it came.
func check(r *http.Request, body []byte) error {
	header := r.Header.Clone()
	header.Set("Host", r.Host)
	query, field := r.URL.RawQuery, r.Header.Get("Authorization")
	if field == "" {
		rest, sum, ok := strings.Cut(query, "&X-Amz-Signature=")
		values := r.URL.Query()
		_, scope, _ := strings.Cut(values.Get("X-Amz-Credential"), "/")
		if want := signature(r.Method, r.URL.EscapedPath(), rest, header, []string{"host"}, "UNSIGNED-PAYLOAD", values.Get("X-Amz-Date"), scope); !ok || sum != want {
			return fmt.Errorf("the signature in the URL is %q, want %q", sum, want)
		}
		return nil
	}
	sum := sha256.Sum256(body)
	_, credential, _ := strings.Cut(field, "Credential=ID/")
	scope, _, _ := strings.Cut(credential, ",")
	_, got, _ := strings.Cut(field, "Signature=")
	want := signature(r.Method, r.URL.EscapedPath(), query, header, []string{"host", "x-amz-content-sha256", "x-amz-date"},
		hex.EncodeToString(sum[:]), r.Header.Get("X-Amz-Date"), scope)
	if got != want {
		return fmt.Errorf("the signature is %q, want %q", got, want)
	}
	return nil
}

// Every request that is made or planned arrives as it was signed.
func TestProtocol(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = check(r, body)
		}
		if err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
			http.Error(w, "<Error><Code>SignatureDoesNotMatch</Code></Error>", http.StatusForbidden)
			return
		}
		mu.Lock()
		seen = append(seen, r.Method)
		mu.Unlock()
		w.Header().Set("ETag", `"e"`)
		switch query := r.URL.Query(); {
		case r.Method == http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		case query.Has("uploads"):
			_, _ = io.WriteString(w, uploadAnswer)
		case r.Method == http.MethodPost:
			_, _ = io.WriteString(w, "<CompleteMultipartUploadResult/>")
		case query.Has("partNumber") && query.Get("uploadId") != "id/+&1":
			t.Errorf("the upload is %q", query.Get("uploadId"))
		}
	}))
	t.Cleanup(server.Close)
	host := signing{now: time.Now().UTC()}
	ctx := sdk.WithServices(t.Context(), sdk.Services{HTTP: host, Sign: host})
	b, err := New(ctx, sdk.NewConfig(map[string]any{
		"bucket": "ci-cache", "endpoint": server.URL, "access-key-id": "ID", "prefix": "a~b/c", "region": "eu-1", "part-size": "5MiB",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.PutRecords(ctx, []sdk.Record{{Key: "kind/sha256:00", Value: []byte("v")}}); err != nil {
		t.Error(err)
	}
	if _, err := b.GetRecords(ctx, []sdk.Key{"kind/sha256:00"}); err != nil {
		t.Error(err)
	}
	blob := sdk.Blob{Digest: "sha256:" + sum, Size: 5<<20 + 1}
	plan, err := b.PlanPut(ctx, blob)
	if err != nil {
		t.Fatal(err)
	}
	done := sdk.TransferResult{Token: plan.Token}
	for _, part := range plan.Parts {
		r, err := http.NewRequestWithContext(ctx, part.Method, part.URL, strings.NewReader("part"))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		done.Parts = append(done.Parts, sdk.PartResult{Status: response.StatusCode, Header: []sdk.Header{{Name: "ETag", Value: response.Header.Get("ETag")}}})
	}
	if err := b.FinishPut(ctx, blob, done); err != nil {
		t.Error(err)
	}
	if got, want := strings.Join(seen, " "), "PUT GET HEAD POST PUT PUT POST"; got != want {
		t.Errorf("requests %s, want %s", got, want)
	}
}
