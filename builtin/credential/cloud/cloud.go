// Package cloud asks the credential helpers of the large clouds for the registries that are theirs, without a configuration
// that names them: docker-credential-gcr for Google's, docker-credential-ecr-login for Amazon's and docker-credential-acr-env
// for Azure's, where they are on PATH.
//
// Where there is no helper, or it has no answer, what can be pulled without a credential is, and all else fails with the
// helper's name: to go on in silence would end in a refusal that nobody understands.
package cloud

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/trowel-build/trowel/builtin/credential/helper"
	"github.com/trowel-build/trowel/sdk"
)

// Cloud is one whose registries are known by their names.
type Cloud string

// The clouds, by the names that kaniko has for their helpers.
const (
	Google Cloud = "google"
	Amazon Cloud = "ecr"
	Azure  Cloud = "acr"
)

// known says which hosts are a cloud's, and whom to ask, the first that there is.
func (c Cloud) known() (hosts *regexp.Regexp, programs []string) {
	switch c {
	case Google:
		return regexp.MustCompile(`^((.+\.)?gcr\.io|.+-docker\.pkg\.dev)$`), []string{"gcr"}
	case Amazon:
		return regexp.MustCompile(`^(public\.ecr\.aws|[0-9]+\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|on\.(aws|amazonwebservices\.com\.cn)|sc2s\.sgov\.gov|c2s\.ic\.gov))$`), []string{"ecr-login"}
	case Azure:
		return regexp.MustCompile(`^.+\.azurecr\.(io|cn|de|us)$`), []string{"acr-env", "acr"}
	}
	return nil, nil
}

// Config says which cloud it is and how its helpers are run.
type Config struct {
	Cloud       Cloud
	Environment []string      // as os.Environ gives it
	Timeout     time.Duration // of a helper; 0 means 60 s
}

// Provider answers for the registries of one cloud.
type Provider struct {
	config   Config
	hosts    *regexp.Regexp
	programs []string
}

// New returns a provider. A helper is sought when one is needed.
func New(config Config) (*Provider, error) {
	hosts, programs := config.Cloud.known()
	if hosts == nil {
		return nil, fmt.Errorf("unknown cloud %q: there are %s, %s and %s", config.Cloud, Google, Amazon, Azure)
	}
	return &Provider{config: config, hosts: hosts, programs: programs}, nil
}

// Credential asks the cloud's helper. Without one, a first request to pull is answered with [sdk.KindAnonymous].
func (p *Provider) Credential(ctx context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	host := request.Registry
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if !p.hosts.MatchString(strings.ToLower(host)) {
		return sdk.Credential{}, fmt.Errorf("%q is no registry of this cloud: %w", request.Registry, sdk.ErrNotMine)
	}
	for _, name := range p.programs {
		asked, err := helper.New(helper.Config{Name: name, Environment: p.config.Environment, Timeout: p.config.Timeout})
		if err != nil {
			return sdk.Credential{}, err
		}
		if !asked.Installed() {
			continue
		}
		credential, err := asked.Credential(ctx, request)
		if err != nil && ctx.Err() == nil && mayBePublic(request) {
			return anonymous, nil
		}
		return credential, err
	}
	if mayBePublic(request) {
		return anonymous, nil
	}
	return sdk.Credential{}, &missing{fmt.Sprintf("the credential helper %s of %q is not there: no program docker-credential-%s on PATH", p.config.Cloud, request.Registry, p.programs[0])}
}

// anonymous asks for no more than what is public.
var anonymous = sdk.Credential{Kind: sdk.KindAnonymous, Scope: sdk.ScopeRepository}

// mayBePublic says whether a request may do without a credential, as far as is known: nobody asked for the helper by name.
func mayBePublic(request sdk.CredentialRequest) bool {
	return request.Reason == sdk.ReasonInitial && !slices.Contains(request.Actions, "push")
}

// missing is the error for a helper that is not there.
type missing struct{ text string }

// Error says which.
func (m *missing) Error() string { return m.text }

// Hint says what else would do.
func (m *missing) Hint() string {
	return "put the helper on PATH, or a token into config.json or KANIKO_<HOST>_USER and KANIKO_<HOST>_PASSWORD"
}

var _ sdk.CredentialProvider = (*Provider)(nil)
