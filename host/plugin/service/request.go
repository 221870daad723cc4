package service

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/sdk"
)

const (
	maxURL           = 16 << 10
	maxRequestHeader = 64 << 10
)

func methods() []string {
	return []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodPatch}
}

// NewRequest makes a request of what a plugin wrote, for [Services.Send]. It differs from [http.NewRequestWithContext] in
// that references to secrets may stand in the URL's user information, and in that only such methods and header fields are
// taken as a plugin may choose.
func (s *Services) NewRequest(ctx context.Context, method, address string, header []sdk.Header, body io.Reader) (*http.Request, error) {
	req, err := newRequest(ctx, method, address, header, body)
	if err != nil {
		return nil, s.safe(err)
	}
	return req, nil
}

func newRequest(ctx context.Context, method, address string, header []sdk.Header, body io.Reader) (*http.Request, error) {
	if !slices.Contains(methods(), method) {
		return nil, fault(sdk.CodeInvalid, "the method is %q, and must be one of %s", cut(method, 20), strings.Join(methods(), ", "))
	}
	u, err := parseURL(address)
	if err != nil {
		return nil, err
	}
	t, err := parseTarget(u)
	if err != nil {
		return nil, fault(sdk.CodeInvalid, "URL %q: %v", showURL(u), err)
	}
	user := u.User
	u.User = nil
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, fault(sdk.CodeInvalid, "URL %q: %v", showURL(u), hideURL(err))
	}
	req.URL.User = user
	return req, setHeader(req, t, header)
}

// parseURL reads a URL whose user information may hold references to secrets, which net/url would refuse.
func parseURL(address string) (*url.URL, error) {
	if len(address) > maxURL {
		return nil, fault(sdk.CodeLimit, "a URL has %d bytes, and may have %d", len(address), maxURL)
	}
	user, rest, err := cutUser(address)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(rest)
	if err != nil {
		return nil, fault(sdk.CodeInvalid, "a URL cannot be parsed: %v", hideURL(err))
	}
	if u.User != nil {
		return nil, fault(sdk.CodeInvalid, "URL %q: it has two user names", showURL(u))
	}
	u.User, u.Fragment, u.RawFragment = user, "", ""
	return u, nil
}

// cutUser takes the user information out of a URL. As in net/url it ends at the last "@" before the path.
func cutUser(address string) (*url.Userinfo, string, error) {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		return nil, address, nil
	}
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	at := strings.LastIndexByte(rest[:end], '@')
	if at < 0 {
		return nil, address, nil
	}
	info, remaining := rest[:at], scheme+"://"+rest[at+1:]
	// RFC 3986, section 3.2.1, and the braces of a reference. Others read a backslash or a second "@" in their own way.
	if strings.Trim(info, letters+"0123456789-._~!$&'()*+,;=:%{}") != "" {
		return nil, "", fault(sdk.CodeInvalid, "the user information of a URL has characters that must be escaped")
	}
	// A reference has a colon of its own, which does not part the name from the password.
	from := 0
	if i := strings.Index(info, referenceEnd); strings.HasPrefix(info, referenceStart) && i >= 0 {
		from = i
	}
	name, password, hasPassword := info, "", false
	if i := strings.IndexByte(info[from:], ':'); i >= 0 {
		name, password, hasPassword = info[:from+i], info[from+i+1:], true
	}
	name, err := url.PathUnescape(name)
	if err == nil {
		password, err = url.PathUnescape(password)
	}
	switch {
	case err != nil:
		return nil, "", fault(sdk.CodeInvalid, "the user information of a URL is wrongly escaped")
	case hasPassword:
		return url.UserPassword(name, password), remaining, nil
	}
	return url.User(name), remaining, nil
}

// setHeader takes the header fields that a plugin wrote.
func setHeader(req *http.Request, t target, header []sdk.Header) error {
	total := 0
	for _, h := range header {
		if total += len(h.Name) + len(h.Value); total > maxRequestHeader {
			return fault(sdk.CodeLimit, "the header fields of a request may have %d bytes together", maxRequestHeader)
		}
		if !isToken(h.Name) {
			return fault(sdk.CodeInvalid, "%q is no name of a header field", cut(h.Name, 80))
		}
		if err := validValue(h.Name, h.Value); err != nil {
			return err
		}
		name := http.CanonicalHeaderKey(h.Name)
		switch {
		case name == "Host" && (strings.EqualFold(h.Value, req.URL.Host) || strings.EqualFold(h.Value, t.hostport())):
			continue // the same will be sent
		case name == "Content-Length" && contentLength(h.Value, req.ContentLength):
			continue
		case isReserved(name):
			return fault(sdk.CodeDenied, "the header field %q is the host's to set", name)
		case name == "Authorization" && req.URL.User != nil:
			return fault(sdk.CodeInvalid, "a request to %s has both a user in its URL and the header field Authorization", t.hostport())
		}
		req.Header.Add(name, h.Value)
	}
	return nil
}

// contentLength says whether the value is the length that will be sent, as far as that is known yet.
func contentLength(value string, length int64) bool {
	n, err := strconv.ParseInt(value, 10, 64)
	return err == nil && n >= 0 && (n == length || length <= 0)
}

// isReserved is true for header fields that belong to the connection, name the host or speak for proxies.
func isReserved(name string) bool {
	switch name {
	case "Host", "Connection", "Content-Length", "Expect", "Forwarded", "Http2-Settings", "Keep-Alive", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade", "Via":
		return true
	}
	return strings.HasPrefix(name, "Proxy-") || strings.HasPrefix(name, "X-Forwarded-")
}

// isToken says whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	return s != "" && len(s) <= 256 && strings.Trim(s, letters+"0123456789!#$%&'*+-.^_`|~") == ""
}

func validValue(name, value string) error {
	for _, c := range []byte(value) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return fault(sdk.CodeInvalid, "the header field %q has a line break or another control character in its value", cut(name, 80))
		}
	}
	return nil
}

func bodyReader(b []byte) io.Reader {
	if len(b) == 0 {
		return http.NoBody
	}
	return bytes.NewReader(b)
}
