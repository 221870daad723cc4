package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

const (
	// maxTokenAnswer caps what a token server may answer.
	maxTokenAnswer = 1 << 20
	// clientID is how the OAuth2 exchange names this program.
	clientID = "trowel"
	// shortestToken is a token's life where the server does not say (distribution's token specification).
	shortestToken = 60 * time.Second
	// maxCredentials is how many credentials a token server is shown for one token.
	maxCredentials = 4
)

// bearer returns the token for an access, from memory or from the token server.
func (a *authenticator) bearer(ctx context.Context, needed access, wanted challenge) (grant, error) {
	slot := a.slot(needed)
	select {
	case slot.lock <- struct{}{}:
		defer func() { <-slot.lock }()
	case <-ctx.Done():
		return grant{}, ctx.Err()
	}
	if held, ok := slot.get(a.host.clock.now()); ok {
		return held, nil
	}
	credential, err := a.keys.get(ctx, a.host.name, needed, nil)
	if err != nil {
		return grant{}, err
	}
	if credential.Kind == sdk.KindBearer {
		return direct(credential), nil
	}
	for tries := 1; ; tries++ {
		asked := a.host.clock.now()
		refresh := slot.refreshToken(credential)
		answer, err := a.fetchToken(ctx, needed, wanted, credential, refresh)
		if err == nil {
			return slot.put(answer, credential, asked), nil
		}
		if !errors.Is(err, ErrDenied) || tries == maxCredentials {
			return grant{}, err
		}
		if needed.push == clearing || needed.from != "" && isForbidden(err) {
			return grant{}, err // not worth giving up what is good for the push
		}
		if refresh != "" {
			slot.forgetRefresh() // it may have expired while the credential has not
			continue
		}
		// The credential may have expired since it was asked for, or be the wrong one of several.
		other, keyErr := a.keys.get(ctx, a.host.name, needed, &credential)
		if keyErr != nil {
			return grant{}, keyErr
		}
		if sameCredential(other, credential) {
			return grant{}, err
		}
		if other.Kind == sdk.KindBearer {
			return direct(other), nil
		}
		credential = other
	}
}

// isForbidden says whether a credential was understood, and does not suffice.
func isForbidden(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status == http.StatusForbidden
}

// tokenAnswer is what a token server answers, in either of its protocols.
type tokenAnswer struct {
	Token        string  `json:"token"`
	AccessToken  string  `json:"access_token"`
	RefreshToken string  `json:"refresh_token"`
	ExpiresIn    float64 `json:"expires_in"`
}

// fetchToken asks the token server: with GET and a password or nothing, with POST and an identity token.
func (a *authenticator) fetchToken(ctx context.Context, needed access, wanted challenge, credential sdk.Credential, refresh string) (tokenAnswer, error) {
	realm, err := a.realm(wanted)
	if err != nil {
		return tokenAnswer{}, err
	}
	query := url.Values{}
	if service := wanted.params["service"]; service != "" {
		query.Set("service", service)
	}
	if credential.Kind == sdk.KindIdentity {
		if refresh == "" {
			refresh = credential.Secret
		}
		query.Set("scope", strings.Join(a.scopes(needed), " "))
		query.Set("grant_type", "refresh_token")
		query.Set("refresh_token", refresh)
		query.Set("client_id", clientID)
		form := query.Encode()
		return a.exchangeToken(ctx, &request{
			method: http.MethodPost, url: realm,
			header: http.Header{"Accept": {"application/json"}, "Content-Type": {"application/x-www-form-urlencoded"}},
			open:   func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(form)), nil },
			length: int64(len(form)),
		}, "", []string{credential.Secret, refresh})
	}
	query["scope"] = a.scopes(needed)
	authorization := ""
	if credential.Kind == sdk.KindBasic {
		query.Set("account", credential.Username)
		authorization = direct(credential).header
	}
	realm.RawQuery = joinQuery(realm.RawQuery, query.Encode())
	return a.exchangeToken(ctx, &request{
		method: http.MethodGet, url: realm, header: http.Header{"Accept": {"application/json"}},
	}, authorization, secretsOf(authorization))
}

// scopes returns what the token server is asked for: what the request needs, and what else the registry named.
func (a *authenticator) scopes(needed access) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append(needed.scopes(), a.extra[needed]...)
}

// exchangeToken sends a token request. Redirects are not followed: a credential goes where the registry said, or nowhere.
func (a *authenticator) exchangeToken(ctx context.Context, r *request, authorization string, secrets []string) (tokenAnswer, error) {
	const op = "authenticate with"
	ref := a.host.name
	resp, err := a.host.exchange(ctx, r, r.url, authorization)
	if err != nil {
		return tokenAnswer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenAnswer+1))
	if err != nil {
		return tokenAnswer{}, describeNetworkError(r.url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return tokenAnswer{}, a.tokenRefusal(resp, body, secrets)
	}
	var answer tokenAnswer
	if len(body) > maxTokenAnswer {
		return answer, &Error{Op: op, Ref: ref, Err: fmt.Errorf("token server %s answered with more than %d bytes", r.url.Host, maxTokenAnswer)}
	}
	if json.Unmarshal(body, &answer) != nil { // its error could quote a token
		return tokenAnswer{}, &Error{Op: op, Ref: ref, Err: fmt.Errorf("token server %s answered with something other than JSON", r.url.Host)}
	}
	if answer.Token == "" {
		answer.Token = answer.AccessToken
	}
	if answer.Token == "" || strings.ContainsAny(answer.Token, "\r\n") {
		return tokenAnswer{}, &Error{Op: op, Ref: ref, Err: fmt.Errorf("token server %s answered without a token", r.url.Host)}
	}
	return answer, nil
}

// tokenRefusal makes an error of a token server's answer. Only a refusal and a passing fault keep their status: that a
// token server has no such page does not mean that an image is not there.
func (a *authenticator) tokenRefusal(resp *http.Response, body []byte, secrets []string) error {
	e := &Error{Op: "authenticate with", Ref: a.host.name, Status: resp.StatusCode, retryAfter: a.host.retryAfter(resp)}
	if len(body) > maxErrorBody {
		body = nil
	}
	e.Code, e.Message = parseErrorBody(body)
	for _, secret := range secrets {
		e.Message = redact(e.Message, secret)
		e.Code = redact(e.Code, secret)
	}
	e.Code, e.Message = tidy(e.Code, 60), tidy(e.Message, 300)
	switch {
	case resp.StatusCode == http.StatusBadRequest && strings.Contains(string(body), "invalid_grant"):
		e.Status = http.StatusUnauthorized // RFC 6749, section 5.2: the refresh token is no longer valid
	case e.Is(ErrDenied), passingStatus(resp.StatusCode):
	default:
		e.Err = fmt.Errorf("token server %s answered %d %s", resp.Request.URL.Host, resp.StatusCode, http.StatusText(resp.StatusCode))
		e.Status = 0
	}
	return e
}

// realm returns the token server's address, if a credential may go there.
func (a *authenticator) realm(wanted challenge) (*url.URL, error) {
	realm, err := url.Parse(wanted.params["realm"])
	if err != nil || realm.Host == "" || realm.User != nil || (realm.Scheme != "https" && realm.Scheme != "http") {
		return nil, &Error{Op: "authenticate with", Ref: a.host.name, Err: errors.New("the registry names no usable token server")}
	}
	if realm.Scheme == "http" && a.host.base.Scheme != "http" {
		return nil, &Error{
			Op: "authenticate with", Ref: a.host.name,
			Err: fmt.Errorf("its token server %s would get the credential unencrypted", realm.Host),
		}
	}
	return realm, nil
}

func joinQuery(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "&" + b
}

// get returns the token while it is good for a while longer.
func (s *tokenSlot) get(now time.Time) (grant, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.header == "" || !now.Before(s.renewAt) {
		return grant{}, false
	}
	return grant{header: s.header, credential: s.from, token: true}, true
}

func (s *tokenSlot) put(answer tokenAnswer, from sdk.Credential, asked time.Time) grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	life := shortestToken
	if answer.ExpiresIn > 0 {
		life = time.Duration(min(answer.ExpiresIn, 86400) * float64(time.Second))
	}
	// The life counts from the request by this machine's clock; the server's may be wrong.
	s.header, s.renewAt = "Bearer "+answer.Token, renewAt(asked, asked.Add(life))
	s.refresh, s.from = answer.RefreshToken, from
	return grant{header: s.header, credential: from, fresh: true, token: true}
}

// refreshToken returns the successor that the token server gave to a credential's identity token.
func (s *tokenSlot) refreshToken(of sdk.Credential) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if of.Kind != sdk.KindIdentity || !sameCredential(of, s.from) {
		return ""
	}
	return s.refresh
}

// forgetRefresh goes back to the credential's own identity token.
func (s *tokenSlot) forgetRefresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh = ""
}
