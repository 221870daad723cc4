package git

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/host/internal/secret"
	"github.com/trowel-build/trowel/sdk"
)

// authorization is the header that says who we are; empty for nobody.
type authorization string

// redact takes the header's value out of a text.
func (a authorization) redact(text string) string {
	if _, value, ok := strings.Cut(string(a), " "); ok && value != "" {
		text = strings.ReplaceAll(text, value, "[redacted]")
	}
	return text
}

func basic(user, password string) authorization {
	return authorization("Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

// mayKnow says whether a remote may learn who we are: not over a plain connection where the build names a safe one. from is
// the remote that the build names, if it has led us to this one: with a submodule, or by a redirect.
func (r remote) mayKnow(from *remote) bool {
	return r.web() && (from == nil || from.protocol != "https" || r.protocol == "https")
}

// known is what we show to a remote unasked: what its address says, or the build's secrets for it, with the IDs that docker
// build knows. A secret that names no host is for the host that the build names alone.
func (c *Client) known(ctx context.Context, at remote, from *remote) (authorization, error) {
	if !at.mayKnow(from) {
		return "", nil
	}
	if at.user != nil {
		password, _ := at.user.Password()
		return basic(at.user.Username(), password), nil
	}
	ids := []struct{ id, kind string }{{"GIT_AUTH_HEADER." + at.host, "header"}, {"GIT_AUTH_TOKEN." + at.host, "token"}}
	if from == nil || from.host == at.host && from.protocol == at.protocol {
		ids = append(ids, []struct{ id, kind string }{{"GIT_AUTH_HEADER", "header"}, {"GIT_AUTH_TOKEN", "token"}}...)
	}
	for _, s := range ids {
		value, err := c.Secrets.Get(ctx, s.id)
		if errors.Is(err, secret.ErrNotFound) {
			continue
		}
		if err != nil {
			return "", err
		}
		text := strings.TrimSpace(string(value))
		if s.kind == "token" {
			return basic("x-access-token", text), nil
		}
		return authorization(text), nil
	}
	return "", nil
}

// asked is what the credential providers say of a remote.
func (c *Client) asked(ctx context.Context, at remote, from *remote) (authorization, error) {
	if !at.mayKnow(from) {
		return "", nil
	}
	request := sdk.CredentialRequest{
		Registry: at.host, Repository: strings.TrimSuffix(strings.Trim(at.path, "/"), ".git"), Actions: []string{"pull"}, Reason: sdk.ReasonInitial,
	}
	for _, p := range c.Credentials {
		credential, err := p.Credential(ctx, request)
		if errors.Is(err, sdk.ErrNotMine) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("find the credential for %q: %w", at.host, err)
		}
		switch credential.Kind {
		case sdk.KindBasic:
			return basic(credential.Username, credential.Secret), nil
		case sdk.KindBearer:
			return authorization("Bearer " + credential.Secret), nil
		}
		return "", nil
	}
	return "", nil
}

// talk runs what talks to a remote. Git would go on showing a secret wherever a redirect leads, so that where it shows one
// it follows none; we do, and look up what is for the new place.
func (c *Client) talk(ctx context.Context, at remote, from *remote, do func(remote, authorization) error) error {
	named := at
	for hops := 0; ; hops++ {
		auth, err := c.meet(ctx, at, from, do)
		if auth == "" || hops == maxHops || !redirected(err) {
			return explain(err, at)
		}
		if at, err = c.led(ctx, at, auth); err != nil {
			return err
		}
		if from == nil {
			from = &named
		}
	}
}

// meet talks to one place: with what is known of us, and once more with what the providers say if that is refused.
func (c *Client) meet(ctx context.Context, at remote, from *remote, do func(remote, authorization) error) (authorization, error) {
	auth, err := c.known(ctx, at, from)
	if err != nil {
		return "", err
	}
	err = do(at, auth)
	if auth != "" || !refused(err) {
		return auth, err
	}
	auth, e := c.asked(ctx, at, from)
	if e != nil {
		return "", e
	}
	if auth != "" {
		err = do(at, auth)
	}
	return auth, err
}

// maxHops is how many times a remote is looked for where a redirect leads. Each time all redirects there are followed.
const maxHops = 3

// redirected says whether git says that it did not follow a redirect.
func redirected(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && strings.Contains(e.Said, "returned error: 30")
}

// advertised is what git asks of a remote first, gitprotocol-http(5), and the one request whose redirects it follows.
const advertised = "/info/refs"

// led is where a remote is that redirects elsewhere.
func (c *Client) led(ctx context.Context, at remote, auth authorization) (remote, error) {
	u, err := url.Parse(at.address)
	if err != nil {
		return remote{}, err
	}
	u.Path, u.RawPath, u.RawQuery = strings.TrimSuffix(u.Path, "/")+advertised, "", "service=git-upload-pack"
	to, err := c.Web.Where(ctx, registry.WebRequest{Method: http.MethodGet, URL: u, Authorization: string(auth)})
	if err != nil {
		return remote{}, err
	}
	p, ok := strings.CutSuffix(to.Path, advertised)
	if !ok || at.protocol == "https" && to.Scheme != "https" {
		return remote{}, fmt.Errorf("it redirects to %q, which is not followed", registry.ShownURL(to))
	}
	next, err := newRemote((&url.URL{Scheme: to.Scheme, Host: to.Host, Path: p}).String())
	if err == nil && next.protocol == at.protocol && next.host == at.host {
		next.user = at.user
	}
	return next, err
}

const denied = "access denied"

// refused says whether git says that it was not let in.
func refused(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return false
	}
	for _, mark := range []string{denied, "could not read Username", "could not read Password", "Authentication failed", "returned error: 401", "returned error: 403"} {
		if strings.Contains(e.Said, mark) {
			return true
		}
	}
	return false
}

// explain adds what the user can do.
func explain(err error, at remote) error {
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
	case refused(err):
		e.Said = denied
		e.hint = fmt.Sprintf("give a token with --secret id=GIT_AUTH_TOKEN.%s,env=NAME, or log in to %s", at.host, at.host)
	case strings.Contains(e.Said, "Host key verification failed"):
		e.hint = "the host shows another key than the one in known_hosts"
	case at.protocol == "ssh" && (strings.Contains(e.Said, "Permission denied") || strings.Contains(e.Said, "Could not read from remote repository")):
		e.hint = "give an agent or a key with --ssh default"
	}
	return err
}

// settings are git's for a remote: who we are, and how its host is reached.
func (c *Client) settings(r run) string {
	at := r.remote
	var b strings.Builder
	if at.protocol == "file" {
		fmt.Fprintf(&b, "[safe]\n\tdirectory = %s\n\tdirectory = %s\n", quote(at.path), quote(filepath.Join(at.path, ".git")))
	}
	if !at.web() {
		return b.String()
	}
	scope := at.protocol + "://" + at.host + "/"
	fmt.Fprintf(&b, "[http %s]\n", quote(scope))
	if r.auth != "" {
		fmt.Fprintf(&b, "\textraHeader = %s\n", quote("Authorization: "+string(r.auth)))
	}
	s := c.Hosts[at.host]
	for _, x := range []struct{ key, value string }{{"sslCAInfo", s.CA}, {"sslCert", s.ClientCert}, {"sslKey", s.ClientKey}} {
		if x.value != "" {
			file, err := filepath.Abs(x.value)
			if err != nil {
				file = x.value
			}
			fmt.Fprintf(&b, "\t%s = %s\n", x.key, quote(file))
		}
	}
	if s.TLS == "skip" {
		b.WriteString("\tsslVerify = false\n")
	}
	return b.String()
}

// quote is a value, or a subsection, as git's configuration has it.
func quote(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", " ", "\r", " ", "\x00", " ").Replace(value) + `"`
}

// proxies are the variables that lead git to the proxy for a remote.
func (c *Client) proxies(at *remote) []string {
	if !at.web() {
		return nil
	}
	proxy, err := c.Proxy.Func()(&url.URL{Scheme: at.protocol, Host: at.host})
	if err != nil || proxy == nil {
		return []string{"no_proxy=*"}
	}
	return []string{"http_proxy=" + proxy.String(), "https_proxy=" + proxy.String()}
}
