package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// WebRequest asks for a document that is no registry's: what ADD names, or a build context.
type WebRequest struct {
	Method        string
	URL           *url.URL
	Header        http.Header
	Authorization string // shown to the URL's own host alone
}

// Web sends a request to any host, with the proxies, the patience and, where the host has any, the settings of registries.
// It follows redirects, and repeats the request after a passing fault. An answer that is neither a success nor "not
// modified" is an [*Error] with its status.
func (c *Client) Web(ctx context.Context, r WebRequest) (*http.Response, error) {
	h, err := c.host(canonicalRegistry(strings.ToLower(r.URL.Host)))
	if err != nil {
		return nil, err
	}
	tries := attempts{host: h, most: h.retry.Attempts}
	for {
		resp, err := c.web(ctx, r)
		if err == nil {
			return resp, nil
		}
		if err := tries.again(ctx, err); err != nil {
			return nil, err
		}
	}
}

// Where is the place that a request is led to by redirects.
func (c *Client) Where(ctx context.Context, r WebRequest) (*url.URL, error) {
	resp, at, err := c.follow(ctx, r)
	if err != nil {
		return nil, err
	}
	drain(resp.Body)
	return at, nil
}

// web is one attempt.
func (c *Client) web(ctx context.Context, r WebRequest) (*http.Response, error) {
	resp, at, err := c.follow(ctx, r)
	if err != nil || resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusNotModified {
		return resp, err
	}
	h, err := c.host(canonicalRegistry(strings.ToLower(at.Host)))
	if err != nil {
		return nil, err
	}
	after := h.retryAfter(resp)
	drain(resp.Body)
	return nil, webRefusal(r.URL, resp.StatusCode, after)
}

// follow goes through redirects to the first other answer, and says whose it is.
func (c *Client) follow(ctx context.Context, r WebRequest) (*http.Response, *url.URL, error) {
	fail := func(err error) (*http.Response, *url.URL, error) {
		e := &Error{Op: "fetch", Ref: ShownURL(r.URL), Err: err}
		if network, ok := errors.AsType[*networkError](err); ok {
			e.Hint, e.Cure = network.hint, network.cure
		}
		if errors.Is(err, context.Canceled) {
			return nil, nil, err
		}
		return nil, nil, e
	}
	at, authorization := r.URL, r.Authorization
	if at.User != nil && authorization == "" {
		authorization = basicAuthorization(at.User)
	}
	for range maxRedirects + 1 {
		h, err := c.host(canonicalRegistry(strings.ToLower(at.Host)))
		if err != nil {
			return nil, nil, err
		}
		if at.Scheme != r.URL.Scheme || hostPort(at) != hostPort(r.URL) {
			authorization = "" // and to nobody once the request has left its host
		}
		plain := *at
		plain.User, plain.Fragment, plain.RawFragment = nil, "", ""
		resp, err := h.exchange(ctx, &request{method: r.Method, header: r.Header}, &plain, authorization)
		if err != nil {
			return fail(err)
		}
		if !isRedirect(resp.StatusCode, r.Method) {
			return resp, at, nil
		}
		drain(resp.Body)
		if at, err = webLocation(resp); err != nil {
			return fail(err)
		}
	}
	return fail(errTooManyRedirects)
}

func basicAuthorization(user *url.Userinfo) string {
	password, _ := user.Password()
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user.Username(), password)
	return r.Header.Get("Authorization")
}

// webLocation resolves where an answer points to.
func webLocation(resp *http.Response) (*url.URL, error) {
	u, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the server redirects to no usable address")
	}
	u.User = nil // whoever redirects does not choose what we log in with
	return u, nil
}

func webRefusal(at *url.URL, status int, after time.Duration) *Error {
	e := &Error{Op: "fetch", Ref: ShownURL(at), Status: status, retryAfter: after}
	switch {
	case e.Is(ErrNotFound):
		e.Err = ErrNotFound
	case e.Is(ErrDenied):
		e.Err = ErrDenied
		e.Hint = fmt.Sprintf("give a token with --secret id=HTTP_AUTH_TOKEN_%s,env=NAME", at.Hostname())
	default:
		e.Err = fmt.Errorf("the server answered %d %s", status, http.StatusText(status))
	}
	return e
}

// ShownURL is an address as messages show it: a user, a query and a fragment may hold a secret.
func ShownURL(u *url.URL) string {
	shown := *u
	shown.User, shown.Fragment, shown.RawFragment = nil, "", ""
	if shown.RawQuery != "" {
		shown.RawQuery = "…"
	}
	return shown.String()
}

// Passing says whether a request, or the reading of its answer, failed so that it may fare better when it is repeated.
func Passing(err error) bool { return passing(err) }
