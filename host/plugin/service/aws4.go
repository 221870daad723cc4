package service

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

const (
	awsAlgorithm    = "AWS4-HMAC-SHA256"
	unsignedPayload = "UNSIGNED-PAYLOAD"
	// maxPresign is how long AWS lets a signed URL live.
	maxPresign = 7 * 24 * 60 * 60
)

// awsSigner signs one request by AWS Signature Version 4:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
type awsSigner struct {
	secret  string
	plain   awsIdentity // what is signed
	sealed  awsIdentity // what is written into the result
	region  string
	service string
	hash    string // of the body; empty: unsigned
	now     time.Time
}

// awsIdentity names who signs.
type awsIdentity struct{ id, token string }

// isS3 is true for services whose paths are signed as they are: for all others they are cleaned, and encoded twice.
func (a awsSigner) isS3() bool { return a.service == "s3" || strings.HasPrefix(a.service, "s3-") }

func (a awsSigner) stamp() string { return a.now.Format("20060102T150405Z") }

func (a awsSigner) scope() string {
	return a.now.Format("20060102") + "/" + a.region + "/" + a.service + "/aws4_request"
}

// header signs with header fields, which it returns. The request itself gets but its URL in canonical form.
func (a awsSigner) header(req *http.Request) ([]sdk.Header, error) {
	if err := canonicalQuery(req.URL); err != nil {
		return nil, err
	}
	hash := a.hash
	if hash == "" {
		hash = unsignedPayload
	}
	added := []sdk.Header{{Name: "X-Amz-Date", Value: a.stamp()}}
	if a.isS3() || hash == unsignedPayload {
		added = append(added, sdk.Header{Name: "X-Amz-Content-Sha256", Value: hash})
	}
	signed := signedFields(req.Header)
	for _, h := range added {
		signed.Set(h.Name, h.Value)
	}
	if a.plain.token != "" {
		signed.Set("X-Amz-Security-Token", a.plain.token)
		added = append(added, sdk.Header{Name: "X-Amz-Security-Token", Value: a.sealed.token})
	}
	fields, names := canonicalHeader(req.URL.Host, signed)
	signature := a.signature(req.Method, a.canonicalPath(req.URL), req.URL.RawQuery, fields, names, hash)
	return append(added, sdk.Header{
		Name: "Authorization",
		Value: awsAlgorithm + " Credential=" + a.sealed.id + "/" + a.scope() + ", SignedHeaders=" + names +
			", Signature=" + signature,
	}), nil
}

// presign returns a URL that stands for the request for so many seconds.
func (a awsSigner) presign(req *http.Request, seconds int64) (string, error) {
	if seconds < 1 || seconds > maxPresign {
		return "", fault(sdk.CodeInvalid, "presignSeconds is %d, and must be from 1 to %d", seconds, maxPresign)
	}
	hash := a.hash
	if hash == "" {
		hash = unsignedPayload
	}
	fields, names := canonicalHeader(req.URL.Host, signedFields(req.Header))
	u := *req.URL
	query := u.Query()
	query.Set("X-Amz-Algorithm", awsAlgorithm)
	query.Set("X-Amz-Date", a.stamp())
	query.Set("X-Amz-Expires", strconv.FormatInt(seconds, 10))
	query.Set("X-Amz-SignedHeaders", names)
	query.Del("X-Amz-Signature")
	withIdentity := func(who awsIdentity) error {
		query.Set("X-Amz-Credential", who.id+"/"+a.scope())
		if who.token != "" {
			query.Set("X-Amz-Security-Token", who.token)
		}
		u.RawQuery = query.Encode()
		return canonicalQuery(&u)
	}
	if err := withIdentity(a.plain); err != nil {
		return "", err
	}
	signature := a.signature(req.Method, a.canonicalPath(&u), u.RawQuery, fields, names, hash)
	if err := withIdentity(a.sealed); err != nil {
		return "", err
	}
	u.RawQuery += "&X-Amz-Signature=" + signature
	return u.String(), nil
}

func (a awsSigner) signature(method, path, query, fields, names, hash string) string {
	canonical := sha256.Sum256([]byte(strings.Join([]string{method, path, query, fields, names, hash}, "\n")))
	text := strings.Join([]string{awsAlgorithm, a.stamp(), a.scope(), hex.EncodeToString(canonical[:])}, "\n")
	key := []byte("AWS4" + a.secret)
	for _, part := range []string{a.now.Format("20060102"), a.region, a.service, "aws4_request"} {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, text))
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func (a awsSigner) canonicalPath(u *url.URL) string {
	p := cmp.Or(u.Path, "/")
	if a.isS3() {
		// What is sent is encoded in the same way: servers differ in what they take "+" and its like for.
		u.Path, u.RawPath = p, awsEscape(p)
		return u.RawPath
	}
	cleaned := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && cleaned != "/" {
		cleaned += "/"
	}
	return awsEscape(awsEscape(cleaned))
}

// awsEscape encodes all but unreserved characters and "/".
func awsEscape(s string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-_.~/", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String()
}

// canonicalQuery gives a URL's query the order and the encoding in which it is signed.
func canonicalQuery(u *url.URL) error {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fault(sdk.CodeInvalid, "URL %q: its query cannot be parsed", showURL(u))
	}
	for _, values := range query {
		slices.Sort(values)
	}
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return nil
}

// signedFields are the header fields that are signed: all but those that change under way.
func signedFields(header http.Header) http.Header {
	signed := header.Clone()
	for _, name := range []string{"Authorization", "User-Agent", "Accept-Encoding", "X-Amzn-Trace-Id"} {
		signed.Del(name)
	}
	return signed
}

// canonicalHeader lists the fields, the host among them, and their names.
func canonicalHeader(host string, header http.Header) (fields, names string) {
	lower := map[string]string{"host": host}
	for name, values := range header {
		var trimmed []string
		for _, v := range values {
			trimmed = append(trimmed, strings.Join(strings.FieldsFunc(v, func(r rune) bool { return r == ' ' || r == '\t' }), " "))
		}
		lower[strings.ToLower(name)] = strings.Join(trimmed, ",")
	}
	sorted := slices.Sorted(maps.Keys(lower))
	var b strings.Builder
	for _, name := range sorted {
		b.WriteString(name + ":" + lower[name] + "\n")
	}
	return b.String(), strings.Join(sorted, ";")
}

// isScope says whether s can be a part of a credential's scope.
func isScope(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, letters+"0123456789-_.") == ""
}
