package registry

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// access says what a request needs the right to. It is comparable.
type access struct {
	repository string
	push       action
	from       string // another repository to read from, for a mount
}

// action is what is done in a repository.
type action int

const (
	pulling action = iota
	pushing
	// clearing takes back an upload. Some registries want the right to delete for it, which those who push often lack, so
	// that it has tokens of its own, and no refusal of it is held against a credential.
	clearing
)

func (a access) actions() []string {
	if a.push == pulling {
		return []string{"pull"}
	}
	return []string{"pull", "push"}
}

// scopes returns what a token server is asked for.
func (a access) scopes() []string {
	actions := a.actions()
	if a.push == clearing {
		actions = append(actions, "delete")
	}
	scopes := []string{"repository:" + a.repository + ":" + strings.Join(actions, ",")}
	if a.from != "" {
		scopes = append(scopes, "repository:"+a.from+":pull")
	}
	return scopes
}

// grant is what a request was sent with.
type grant struct {
	header     string // Authorization
	credential sdk.Credential
	fresh      bool // the token was made for this request
	token      bool // the header holds a token of the token server
}

// authenticator tells one registry who asks, in the way it wants.
type authenticator struct {
	host *host
	keys *keychain

	mu     sync.Mutex
	wanted challenge           // the last one; its scheme is empty while none was seen
	extra  map[access][]string // scopes that a challenge named beyond our own
	tokens map[access]*tokenSlot
}

func newAuthenticator(h *host, keys *keychain) *authenticator {
	return &authenticator{host: h, keys: keys, extra: map[access][]string{}, tokens: map[access]*tokenSlot{}}
}

// authorise returns what to send with a request. A registry that has not asked for a credential gets none.
func (a *authenticator) authorise(ctx context.Context, needed access) (grant, error) {
	wanted := a.challenge()
	switch wanted.scheme {
	case "basic":
		credential, err := a.keys.get(ctx, a.host.name, needed, nil)
		if err != nil {
			return grant{}, err
		}
		return direct(credential), nil
	case "bearer":
		return a.bearer(ctx, needed, wanted)
	}
	return grant{}, nil
}

// renew returns what to send after a registry refused what it got. The header is the same as before if there is
// nothing else to offer.
func (a *authenticator) renew(ctx context.Context, needed access, refused grant, header http.Header) (grant, error) {
	wanted, ok := pickChallenge(header)
	if !ok {
		if refused.header == "" {
			return refused, nil
		}
		wanted = a.challenge()
	}
	widened := a.learn(needed, wanted)
	if scheme, _, _ := strings.Cut(refused.header, " "); !strings.EqualFold(scheme, wanted.scheme) {
		return a.authorise(ctx, needed)
	}
	if refused.token && wanted.scheme == "bearer" {
		a.slot(needed).drop(refused.header)
		if !refused.fresh || widened {
			return a.bearer(ctx, needed, wanted)
		}
	}
	if refused.fresh && needed.from != "" && wanted.params["error"] != "invalid_token" { // RFC 6750, section 3.1
		// The token server has just taken this credential; it is the other repository that it is not for. To ask for
		// another one would replace what is good for the push.
		return refused, nil
	}
	if needed.push == clearing {
		return refused, nil
	}
	credential, err := a.keys.get(ctx, a.host.name, needed, &refused.credential)
	if err != nil || sameCredential(credential, refused.credential) {
		return refused, err
	}
	return a.authorise(ctx, needed)
}

// learn remembers what the registry wants, and says whether that is more for this access than was known.
func (a *authenticator) learn(needed access, wanted challenge) (widened bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wanted = wanted
	own := needed.scopes()
	extra := slices.DeleteFunc(strings.Fields(wanted.params["scope"]), func(s string) bool { return slices.Contains(own, s) })
	if len(extra) == 0 || slices.Equal(extra, a.extra[needed]) {
		return false
	}
	a.extra[needed] = extra
	return true
}

func (a *authenticator) challenge() challenge {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.wanted
}

func (a *authenticator) slot(needed access) *tokenSlot {
	a.mu.Lock()
	defer a.mu.Unlock()
	slot := a.tokens[needed]
	if slot == nil {
		slot = &tokenSlot{lock: make(chan struct{}, 1)}
		a.tokens[needed] = slot
	}
	return slot
}

// direct returns what to send to a registry that takes credentials itself.
func direct(credential sdk.Credential) grant {
	switch credential.Kind {
	case sdk.KindBasic:
		pair := credential.Username + ":" + credential.Secret
		return grant{header: "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)), credential: credential}
	case sdk.KindBearer:
		return grant{header: "Bearer " + credential.Secret, credential: credential}
	}
	return grant{credential: credential}
}

// refused says whether an answer asks for a (better) credential. Some registries call an expired one forbidden.
func (h *host) refused(resp *http.Response) bool {
	if !h.owns(resp.Request.URL) {
		return false
	}
	if resp.StatusCode == http.StatusUnauthorized {
		return true
	}
	if resp.StatusCode != http.StatusForbidden || resp.Request.Header.Get("Authorization") == "" {
		return false
	}
	peeked, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	resp.Body.Close()
	resp.Body = io.NopCloser(strings.NewReader(string(peeked)))
	return err == nil && strings.Contains(strings.ToLower(string(peeked)), "expired")
}

// secretsOf returns the parts of an Authorization header that must not be shown.
func secretsOf(header string) []string {
	scheme, value, ok := strings.Cut(header, " ")
	if !ok {
		return nil
	}
	secrets := []string{value}
	if scheme == "Basic" {
		if pair, err := base64.StdEncoding.DecodeString(value); err == nil {
			_, password, _ := strings.Cut(string(pair), ":")
			secrets = append(secrets, password)
		}
	}
	return secrets
}

// hint says how to be let in, from what the registry was given.
func (a *authenticator) hint(ctx context.Context, needed access) string {
	registry := a.host.name
	held, refused := a.keys.known(ctx, registry, needed)
	if len(refused) == 0 && held.Kind != "" {
		refused = append(refused, held)
	}
	var tried []string
	for _, credential := range refused {
		if credential.Kind != sdk.KindAnonymous && !slices.Contains(tried, "the "+credential.String()) {
			tried = append(tried, "the "+credential.String())
		}
	}
	if len(tried) == 0 {
		return fmt.Sprintf("no credential was found for %[1]s: log in with \"docker login %[1]s\", set DOCKER_AUTH_CONFIG, or set TROWEL_REGISTRY_%[2]s_USER and TROWEL_REGISTRY_%[2]s_PASSWORD",
			registry, variablePart(registry))
	}
	return fmt.Sprintf("%s refused %s, and no other was to be had when it was asked for: check that it has not expired, and that it may %s in %q",
		registry, strings.Join(tried, " and "), strings.Join(needed.actions(), " and "), needed.repository)
}

// variablePart returns a registry's name as it stands in the name of an environment variable.
func variablePart(registry string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r - 'a' + 'A'
		}
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, registry)
}

// tokenSlot holds the token for one access. Its lock is held while one is fetched.
type tokenSlot struct {
	lock chan struct{}

	mu      sync.Mutex
	header  string
	renewAt time.Time
	refresh string // a refresh token that the token server gave instead of the credential's
	from    sdk.Credential
}

// drop forgets the token if it is still the one that was refused.
func (s *tokenSlot) drop(header string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.header == header {
		s.header = ""
	}
}
