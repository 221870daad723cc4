package token

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/trowel-build/trowel/sdk"
)

// maxTurns bounds what is remembered of refusals.
const maxTurns = 1000

// Provider answers with one of GitLab's tokens.
type Provider struct {
	settings  settings
	variables variables

	mu    sync.Mutex
	turns map[string]int // how often a request was told that its token was refused
}

var _ sdk.CredentialProvider = (*Provider)(nil)

// Credential returns the token that is next for the request: that of the first rule that fits, and after a refusal that of
// the rule after it. When all were refused it begins again, for what stands behind a token may have been replaced; the host
// sees whether it has.
func (p *Provider) Credential(ctx context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	fitting, err := p.choose(ctx, request)
	if err != nil {
		return sdk.Credential{}, err
	}
	turns := p.turn(request)
	if request.Reason == sdk.ReasonUnauthorized && turns == len(fitting) { // once: what is behind a token may well be replaced now and then
		p.explain(ctx, request, fitting)
	}
	k := p.settings.kinds[fitting[turns%len(fitting)]]
	user, err := p.userName(ctx, k)
	if err != nil {
		return sdk.Credential{}, err
	}
	return sdk.Credential{
		// How long a token lives is not told: a job token as long as the job, the others until somebody revokes them.
		Kind: sdk.KindBasic, Username: user, Secret: "{{secret:" + k.secret + "}}", Scope: sdk.ScopeRepository,
	}, nil
}

// choose returns the names of the tokens for a request, the best first: those of the rules, then those of the job itself.
func (p *Provider) choose(ctx context.Context, request sdk.CredentialRequest) ([]string, error) {
	var chosen []string
	add := func(name string) {
		if !slices.Contains(chosen, name) && p.settings.kinds[name].actions.cover(request.Actions) {
			chosen = append(chosen, name)
		}
	}
	for _, r := range p.settings.rules {
		if r.actions.cover(request.Actions) && r.pattern.fits(request.Registry, request.Repository) {
			add(r.use)
		}
	}
	defaults, err := p.byDefault(ctx, request)
	if err != nil && len(chosen) == 0 {
		return nil, err
	}
	for _, name := range defaults {
		add(name)
	}
	if len(chosen) == 0 {
		return nil, notMine("no token is for " + purpose(request))
	}
	return chosen, nil
}

// turn returns how often a token was refused for what the request wants, this time included.
func (p *Provider) turn(request sdk.CredentialRequest) int {
	key := request.Registry + "/" + request.Repository + " " + strings.Join(request.Actions, ",")
	p.mu.Lock()
	defer p.mu.Unlock()
	if request.Reason == sdk.ReasonUnauthorized {
		if len(p.turns) >= maxTurns {
			clear(p.turns)
		}
		p.turns[key]++
	}
	return p.turns[key]
}

// explain tells the user what may be wrong when every token was refused.
func (p *Provider) explain(ctx context.Context, request sdk.CredentialRequest, refused []string) {
	var b strings.Builder
	b.WriteString(request.Registry + " refused every token for " + purpose(request))
	for _, name := range refused {
		k := p.settings.kinds[name]
		b.WriteString("; " + name + " (secret " + k.secret + "): " + k.about)
	}
	sdk.Log(ctx, sdk.LevelWarning, b.String())
}

// purpose is what a request is for, in words.
func purpose(request sdk.CredentialRequest) string {
	name := request.Registry
	if request.Repository != "" {
		name += "/" + request.Repository
	}
	if len(request.Actions) == 0 {
		return name
	}
	return strings.Join(request.Actions, " and ") + " in " + name
}

// userName is the user that goes with the token.
func (p *Provider) userName(ctx context.Context, k kind) (string, error) {
	if k.user != "" {
		return k.user, nil
	}
	v, err := p.variables.look(ctx, k.userVar)
	switch {
	case err != nil:
		return "", err
	case v.value != "":
		return v.value, nil
	case k.orUser != "":
		return k.orUser, nil
	}
	return "", invalid("the token " + k.name + " needs a user: " + v.cure() +
		"; a deploy token called gitlab-deploy-token sets it in all jobs of its project, and user under tokens." + k.name + " in the plugin's table config does too")
}

func notMine(message string) error {
	return &sdk.Error{Code: sdk.CodeNotMine, Message: message}
}
