package service

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/trowel-build/trowel/sdk"
)

const maxRedirects = 10

// Send sends a request and follows its redirects as the policy says. The grants are checked for the URL of each hop and for
// each address that is dialled; references to secrets in header fields and user information are filled on the way out, and
// secrets in the answer's header are gone. The answer's body is as it came, without a bound: it is the caller's to read and
// to close. The request's body is closed in any case; it needs GetBody to survive a redirect.
func (s *Services) Send(ctx context.Context, req *http.Request, redirect sdk.RedirectPolicy) (*http.Response, error) {
	e := exchange{s: s, redirect: redirect}
	resp, err := e.run(req.WithContext(ctx))
	if err != nil {
		return nil, s.safe(err)
	}
	return resp, nil
}

// exchange is a request with its redirects.
type exchange struct {
	s        *Services
	redirect sdk.RedirectPolicy
	sign     *sdk.SignRequest // signs each hop to the first host
	hash     string           // of the body, for sign
}

func (e exchange) run(req *http.Request) (*http.Response, error) {
	hop := req.Clone(req.Context()) // its header and URL change from hop to hop; references in it stay references
	for n := 0; ; n++ {
		resp, from, err := e.hop(hop)
		if err != nil {
			return nil, err
		}
		if !isRedirect(resp) {
			e.s.redactHeader(resp.Header)
			resp.Request = hop // not the one that was sent, which has the secrets
			return resp, nil
		}
		location := resp.Header.Get("Location")
		drain(resp.Body)
		if n == maxRedirects {
			return nil, fault(sdk.CodeLimit, "%s %s: more than %d redirects", hop.Method, from.hostport(), maxRedirects)
		}
		next, to, err := e.follow(hop, resp.StatusCode, from, location)
		if err != nil {
			return nil, err
		}
		if hop = next; to != from {
			e.sign = nil // for good: another host must not choose what is signed for the first
		}
	}
}

// hop sends one request.
func (e exchange) hop(hop *http.Request) (*http.Response, target, error) {
	t, err := e.s.policy.check(hop.URL)
	var out *http.Request
	if err == nil {
		out, err = e.s.prepare(hop, t)
	}
	if err == nil && e.sign != nil {
		err = e.s.signRequest(out, t, *e.sign, e.hash)
	}
	if err != nil {
		closeBody(hop)
		return nil, t, err
	}
	resp, err := e.s.network.roundTrip(out, t)
	if err != nil {
		return nil, t, describe(hop.Context(), hop.Method, t, err)
	}
	return resp, t, nil
}

// prepare makes what is sent of a hop: the host in its one form, the secrets in their places.
func (s *Services) prepare(hop *http.Request, t target) (*http.Request, error) {
	out := hop.Clone(hop.Context())
	out.URL.Scheme, out.URL.Host, out.URL.User, out.Host = t.scheme, t.hostport(), nil, ""
	secret := func(name string) (string, error) { return s.vault.forHost(name, UseHeader, t) }
	var err error
	if out.URL.RawQuery, err = s.vault.unseal(out.URL.RawQuery, t, url.QueryEscape); err != nil {
		return nil, err
	}
	for name, values := range out.Header {
		for i, value := range values {
			if values[i], err = fill(value, secret); err != nil {
				return nil, err
			}
			if values[i], err = s.vault.unseal(values[i], t, func(v string) string { return v }); err != nil {
				return nil, err
			}
			if values[i] != value {
				if err := validValue(name, values[i]); err != nil {
					return nil, err
				}
			}
		}
	}
	if hop.URL.User != nil {
		if err := s.basic(out, hop.URL.User, secret); err != nil {
			return nil, err
		}
	}
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header.Set("User-Agent", s.options.UserAgent)
	}
	return out, nil
}

// basic turns user information into basic authentication.
func (s *Services) basic(out *http.Request, user *url.Userinfo, secret func(string) (string, error)) error {
	name, err := fill(user.Username(), secret)
	if err != nil {
		return err
	}
	password, _ := user.Password()
	filled, err := fill(password, secret)
	if err != nil {
		return err
	}
	credential := base64.StdEncoding.EncodeToString([]byte(name + ":" + filled))
	if name != user.Username() || filled != password {
		s.redactor.Add(credential)
	}
	out.Header.Set("Authorization", "Basic "+credential)
	return nil
}

// follow makes the request that a redirect asks for.
func (e exchange) follow(hop *http.Request, status int, from target, location string) (*http.Request, target, error) {
	next, to, err := e.nextHop(hop, from, location)
	if err != nil {
		return nil, to, err
	}
	return next, to, resend(next, hop, status, from)
}

func (e exchange) nextHop(hop *http.Request, from target, location string) (*http.Request, target, error) {
	ref, err := url.Parse(location)
	if err != nil || ref.User != nil {
		return nil, target{}, fault(sdk.CodeInvalid, "%s %s: it redirects to no proper URL", hop.Method, from.hostport())
	}
	u := hop.URL.ResolveReference(ref)
	to, err := parseTarget(u)
	if err != nil {
		return nil, to, fault(sdk.CodeInvalid, "%s %s: it redirects to %q: %v", hop.Method, from.hostport(), showURL(u), err)
	}
	if err := e.permits(hop.Method, from, to); err != nil {
		return nil, to, err
	}
	next := hop.Clone(hop.Context())
	next.URL, next.Host = u, ""
	next.URL.Fragment, next.URL.RawFragment = "", ""
	if next.URL.User = hop.URL.User; to != from {
		next.URL.User = nil
		next.Header = forStranger(hop.Header)
	}
	return next, to, nil
}

// permits says whether the request follows the redirect. Whether the user granted where it leads is checked after that.
func (e exchange) permits(method string, from, to target) error {
	where := to.scheme + "://" + to.hostport()
	switch {
	case e.redirect == sdk.RedirectGranted, e.redirect == sdk.RedirectSameHost && to == from:
		return nil
	case e.redirect == sdk.RedirectSameHost:
		return fault(sdk.CodeInvalid, "%s %s: it redirects to another host, %q, and the request follows only redirects to the same",
			method, from.hostport(), where)
	}
	return fault(sdk.CodeInvalid, "%s %s: it redirects to %q, and the request follows no redirects", method, from.hostport(), where)
}

// resend decides what method and body a redirected request has. RFC 9110, section 15.4: 303 asks for a GET; for 301 and 302
// a POST, and no other method, may become one.
func resend(next, hop *http.Request, status int, from target) error {
	if status == http.StatusSeeOther && hop.Method != http.MethodHead ||
		hop.Method == http.MethodPost && (status == http.StatusMovedPermanently || status == http.StatusFound) {
		next.Method = http.MethodGet
		next.Body, next.GetBody, next.ContentLength, next.TransferEncoding = nil, nil, 0, nil
		for name := range next.Header {
			if strings.HasPrefix(name, "Content-") {
				delete(next.Header, name)
			}
		}
		return nil
	}
	if hop.Body == nil || hop.Body == http.NoBody {
		return nil
	}
	if hop.GetBody == nil {
		return fault(sdk.CodeUnavailable, "%s %s: it redirects after the body was sent, which cannot be sent again", hop.Method, from.hostport())
	}
	body, err := hop.GetBody()
	next.Body = body
	return err
}

// forStranger returns those header fields that another host may see after a redirect: of known harmless names, and without
// a secret in them.
func forStranger(header http.Header) http.Header {
	kept := http.Header{}
	for name, values := range header {
		known := strings.HasPrefix(name, "Accept") || strings.HasPrefix(name, "Content-") || strings.HasPrefix(name, "If-") ||
			name == "Range" || name == "User-Agent" || name == "Cache-Control"
		for _, value := range values {
			if known && !hasReference(value) && !strings.Contains(value, sealPrefix) {
				kept.Add(name, value)
			}
		}
	}
	return kept
}

func isRedirect(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return resp.Header.Get("Location") != ""
	}
	return false
}

func (s *Services) redactHeader(header http.Header) {
	for _, values := range header {
		for i, value := range values {
			values[i] = s.redactor.Redact(value)
		}
	}
}

// drain reads the little that a redirect says, so that its connection can be used again.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 64<<10)
	body.Close()
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}
