package plugintest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// Sign implements [sdk.Signer].
func (h *Host) Sign(_ context.Context, request sdk.SignRequest) (sdk.SignResponse, error) {
	key, err := h.secret(request.Secret, string(request.Method))
	if err != nil {
		return sdk.SignResponse{}, err
	}
	switch request.Method {
	case sdk.SignHMAC:
		return sdk.SignResponse{Signature: hmacSHA256([]byte(key), string(request.Data))}, nil
	case sdk.SignAWS4:
		if request.AWS == nil {
			return sdk.SignResponse{}, invalid("sign: there is no request to sign")
		}
		return h.signAWS(key, *request.AWS)
	}
	return sdk.SignResponse{}, invalid("sign: unknown method %q", request.Method)
}

func hmacSHA256(key []byte, data string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(data))
	return mac.Sum(nil)
}

const unsignedPayload = "UNSIGNED-PAYLOAD"

// signAWS signs by AWS Signature Version 4, in headers or in the URL's query.
func (h *Host) signAWS(key string, r sdk.AWSRequest) (sdk.SignResponse, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" {
		return sdk.SignResponse{}, invalid("sign: the URL is not one")
	}
	for _, field := range []*string{&r.AccessKeyID, &r.SessionToken} {
		if *field, err = h.fillIn(*field, string(sdk.SignAWS4)); err != nil {
			return sdk.SignResponse{}, err
		}
	}
	if r.PayloadHash == "" {
		r.PayloadHash = unsignedPayload
	}
	now := time.Now
	if h.Now != nil {
		now = h.Now
	}
	s := awsSigner{request: r, url: u, at: now().UTC()}
	s.scope = strings.Join([]string{s.at.Format("20060102"), r.Region, r.Service, "aws4_request"}, "/")
	if r.PresignSeconds > 0 {
		return s.presign(key), nil
	}
	return s.sign(key), nil
}

type awsSigner struct {
	request sdk.AWSRequest
	url     *url.URL
	at      time.Time
	scope   string
}

func (s awsSigner) date() string { return s.at.Format("20060102T150405Z") }

func (s awsSigner) sign(key string) sdk.SignResponse {
	added := []sdk.Header{{Name: "X-Amz-Date", Value: s.date()}}
	if s.request.Service == "s3" {
		added = append(added, sdk.Header{Name: "X-Amz-Content-Sha256", Value: s.request.PayloadHash})
	}
	if s.request.SessionToken != "" {
		added = append(added, sdk.Header{Name: "X-Amz-Security-Token", Value: s.request.SessionToken})
	}
	names, headers := s.canonicalHeaders(added)
	signature := s.signature(key, s.url.Query(), names, headers)
	return sdk.SignResponse{Header: append(added, sdk.Header{
		Name: "Authorization",
		Value: "AWS4-HMAC-SHA256 Credential=" + s.request.AccessKeyID + "/" + s.scope + ", SignedHeaders=" + names +
			", Signature=" + signature,
	})}
}

func (s awsSigner) presign(key string) sdk.SignResponse {
	names, headers := s.canonicalHeaders(nil)
	query := s.url.Query()
	query.Set("X-Amz-Algorithm", "AWS4-HMAC-SHA256")
	query.Set("X-Amz-Credential", s.request.AccessKeyID+"/"+s.scope)
	query.Set("X-Amz-Date", s.date())
	query.Set("X-Amz-Expires", strconv.FormatInt(s.request.PresignSeconds, 10))
	query.Set("X-Amz-SignedHeaders", names)
	if s.request.SessionToken != "" {
		query.Set("X-Amz-Security-Token", s.request.SessionToken)
	}
	signature := s.signature(key, query, names, headers)
	signed := *s.url
	signed.RawQuery = canonicalQuery(query) + "&X-Amz-Signature=" + signature
	return sdk.SignResponse{URL: signed.String()}
}

// canonicalHeaders are the names of the headers that are signed, and the headers as they are signed.
func (s awsSigner) canonicalHeaders(added []sdk.Header) (names, headers string) {
	values := map[string][]string{"host": {s.url.Host}}
	for _, f := range slices.Concat(s.request.Header, added) {
		name := strings.ToLower(f.Name)
		switch name {
		case "host":
			values[name] = []string{f.Value}
		case "authorization", "user-agent", "expect", "connection":
		default:
			values[name] = append(values[name], strings.Join(strings.Fields(f.Value), " "))
		}
	}
	sorted := make([]string, 0, len(values))
	for name := range values {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	var out strings.Builder
	for _, name := range sorted {
		out.WriteString(name + ":" + strings.Join(values[name], ",") + "\n")
	}
	return strings.Join(sorted, ";"), out.String()
}

func (s awsSigner) signature(key string, query url.Values, names, headers string) string {
	path := awsEscape(s.url.Path, "/")
	if path == "" {
		path = "/"
	}
	if s.request.Service != "s3" {
		path = awsEscape(path, "/") // all services but S3 want it escaped twice
	}
	canonical := strings.Join([]string{s.request.HTTPMethod, path, canonicalQuery(query), headers, names, s.request.PayloadHash}, "\n")
	sum := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", s.date(), s.scope, hex.EncodeToString(sum[:])}, "\n")
	derived := []byte("AWS4" + key)
	for _, part := range strings.Split(s.scope, "/") {
		derived = hmacSHA256(derived, part)
	}
	return hex.EncodeToString(hmacSHA256(derived, text))
}

func canonicalQuery(query url.Values) string {
	var pairs []string
	for name, values := range query {
		for _, value := range values {
			pairs = append(pairs, awsEscape(name, "")+"="+awsEscape(value, ""))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// awsEscape escapes all bytes but letters, digits, "-._~" and those of keep.
func awsEscape(text, keep string) string {
	const upperHex = "0123456789ABCDEF"
	var out strings.Builder
	for i := range len(text) {
		c := text[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~"+keep, c) >= 0 {
			out.WriteByte(c)
			continue
		}
		out.Write([]byte{'%', upperHex[c>>4], upperHex[c&15]})
	}
	return out.String()
}
