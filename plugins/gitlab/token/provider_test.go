package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugintest"
)

// job is the environment of a job on gitlab.com, as GitLab sets it.
func job() map[string]string {
	return map[string]string{
		"CI_REGISTRY":                "registry.gitlab.com",
		"CI_REGISTRY_USER":           "gitlab-ci-token",
		"CI_PROJECT_PATH":            "Acme/Web-Shop",
		"CI_DEPENDENCY_PROXY_SERVER": "gitlab.com:443",
		"CI_DEPENDENCY_PROXY_USER":   "gitlab-ci-token",
	}
}

func with(env map[string]string, more ...string) map[string]string {
	for i := 0; i < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	return env
}

// environment grants the variables that it has, and those that are empty.
type environment map[string]string

func (e environment) Env(_ context.Context, names []string) ([]sdk.Variable, error) {
	var found []sdk.Variable
	for _, name := range names {
		value, granted := e[name]
		if !granted {
			return nil, &sdk.Error{Code: sdk.CodeDenied, Message: "the environment variable " + name + " is not granted"}
		}
		if value != "" {
			found = append(found, sdk.Variable{Name: name, Value: value})
		}
	}
	return found, nil
}

type logged []string

func (l *logged) Log(_ context.Context, level sdk.Level, text string) {
	*l = append(*l, string(level)+": "+text)
}

func open(t *testing.T, config map[string]any) sdk.CredentialProvider {
	t.Helper()
	p, err := New(t.Context(), sdk.NewConfig(config))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func request(what, actions string) sdk.CredentialRequest {
	registry, repository, _ := strings.Cut(what, "/")
	return sdk.CredentialRequest{Registry: registry, Repository: repository, Actions: strings.Split(actions, ","), Reason: sdk.ReasonInitial}
}

// answers returns the tokens for a request, one refusal after the other, until they begin again.
func answers(ctx context.Context, p sdk.CredentialProvider, r sdk.CredentialRequest) []string {
	var all []string
	for {
		c, err := p.Credential(ctx, r)
		answer := c.Username + " " + c.Secret
		if err != nil {
			answer = string(sdk.AsError(err).Code)
		}
		if slices.Contains(all, answer) {
			return all
		}
		all = append(all, answer)
		r.Reason = sdk.ReasonUnauthorized
	}
}

const (
	jobToken    = "gitlab-ci-token {{secret:job}}"
	deployToken = "gitlab+deploy-token-7 {{secret:deploy}}"
)

func TestWithoutConfiguration(t *testing.T) {
	t.Parallel()
	deploying := with(job(), "CI_DEPLOY_USER", "gitlab+deploy-token-7")
	for name, test := range map[string]struct {
		env           map[string]string
		what, actions string
		want          []string
	}{
		"push to the own project":             {job(), "registry.gitlab.com/acme/web-shop/app", "pull,push", []string{jobToken}},
		"push to it with a deploy token":      {deploying, "registry.gitlab.com/acme/web-shop", "pull,push", []string{jobToken}},
		"pull from the own project":           {deploying, "registry.gitlab.com/acme/web-shop/app", "pull", []string{jobToken, deployToken}},
		"pull from another project":           {deploying, "registry.gitlab.com/acme/base", "pull", []string{deployToken, jobToken}},
		"pull from a project of a like name":  {deploying, "registry.gitlab.com/acme/web-shop2", "pull", []string{deployToken, jobToken}},
		"pull from it without a deploy token": {with(job(), "CI_DEPLOY_USER", ""), "registry.gitlab.com/acme/base", "pull", []string{jobToken}},
		"the registry as a whole":             {job(), "registry.gitlab.com", "pull", []string{jobToken}},
		"dependency proxy":                    {job(), "gitlab.com:443/acme/dependency_proxy/containers/library/debian", "pull", []string{jobToken}},
		"dependency proxy without the port":   {job(), "gitlab.com/acme/dependency_proxy/containers/debian", "pull", []string{jobToken}},
		"dependency proxy is not pushed to":   {job(), "gitlab.com:443/acme/dependency_proxy/containers/debian", "pull,push", []string{"not_mine"}},
		"elsewhere on the proxy's host":       {job(), "gitlab.com:443/acme/app", "pull", []string{"not_mine"}},
		"proxy's path on another host":        {job(), "gitlab.org/acme/dependency_proxy/containers/debian", "pull", []string{"not_mine"}},
		"another port":                        {job(), "registry.gitlab.com:5050/acme/web-shop", "pull", []string{"not_mine"}},
		"a registry of its own":               {with(job(), "CI_REGISTRY", "git.example.com:5050"), "git.example.com:5050/acme/web-shop", "pull,push", []string{jobToken}},
		"another registry":                    {job(), "docker.io/library/debian", "pull", []string{"not_mine"}},
		"a name that ends alike":              {job(), "evil-registry.gitlab.com/acme/web-shop", "pull", []string{"not_mine"}},
		"no job":                              {map[string]string{"CI_REGISTRY": ""}, "registry.gitlab.com/acme/web-shop", "pull", []string{"not_mine"}},
		"nothing granted":                     {map[string]string{}, "registry.gitlab.com/acme/web-shop", "pull", []string{"invalid"}},
		"only the registry granted":           {map[string]string{"CI_REGISTRY": "registry.gitlab.com"}, "registry.gitlab.com/acme/web-shop", "pull,push", []string{jobToken}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := sdk.WithServices(t.Context(), sdk.Services{Env: environment(test.env)})
			got := answers(ctx, open(t, nil), request(test.what, test.actions))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("tokens (-want +got):\n%s", diff)
			}
		})
	}
}

// rules is a configuration with everything in it.
func rules() map[string]any {
	return map[string]any{
		"registry": "registry.example.com",
		"tokens": map[string]any{
			"base-images": map[string]any{"user": "trowel", "actions": []any{"pull"}},
			"deploy":      map[string]any{"user": "deployer", "actions": []any{"pull", "push"}},
			"bot":         map[string]any{"user": "project_7_bot", "secret": "bot-token"},
		},
		"rules": []any{
			map[string]any{"match": "registry.example.com/platform/base/*", "use": "base-images"},
			map[string]any{"match": "registry.example.com/platform", "use": "deploy", "actions": []any{"push"}},
			map[string]any{"match": "*.example.org:5050/team/app-*", "use": "bot"},
		},
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	ctx := sdk.WithServices(t.Context(), sdk.Services{Env: environment{"CI_REGISTRY_USER": "gitlab-ci-token", "CI_PROJECT_PATH": "platform/shop"}})
	const base, deploy, bot = "trowel {{secret:base-images}}", "deployer {{secret:deploy}}", "project_7_bot {{secret:bot-token}}"
	for _, test := range []struct {
		what, actions string
		want          []string
	}{
		{"registry.example.com/platform/base/debian", "pull", []string{base, deploy, jobToken}},
		{"registry.example.com/platform/base/a/b", "pull", []string{base, deploy, jobToken}},
		{"registry.example.com/platform/base", "pull", []string{deploy, jobToken}},
		{"registry.example.com/platform/base/debian", "pull,push", []string{jobToken, deploy}},
		{"registry.example.com/platform/shop", "pull", []string{jobToken, deploy}},
		{"registry.example.com/platformer/shop", "pull", []string{deploy, jobToken}},
		{"a.example.org:5050/team/app-1/web", "pull,push", []string{bot}},
		{"a.example.org:5050/team/app-1.2", "pull", []string{bot}},
		{"a.example.org/team/app-1", "pull", []string{"not_mine"}},
		{"a.b.example.org:5050/team/app-1", "pull", []string{"not_mine"}},
		{"a.example.org:5050/team/other", "pull", []string{"not_mine"}},
	} {
		t.Run(test.what+" "+test.actions, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, answers(ctx, open(t, rules()), request(test.what, test.actions))); diff != "" {
				t.Errorf("tokens (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAnswer is about all that is in one.
func TestAnswer(t *testing.T) {
	t.Parallel()
	ctx := sdk.WithServices(t.Context(), sdk.Services{Env: environment(job())})
	for _, reason := range []sdk.CredentialReason{sdk.ReasonInitial, sdk.ReasonExpiring, sdk.ReasonUnauthorized} {
		r := request("registry.gitlab.com/acme/web-shop", "pull,push")
		r.Reason = reason
		got, err := open(t, nil).Credential(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		want := sdk.Credential{Kind: sdk.KindBasic, Username: "gitlab-ci-token", Secret: "{{secret:job}}", Scope: sdk.ScopeRepository}
		if got != want {
			t.Errorf("reason %s: %#v, want %#v", reason, got, want)
		}
	}
}

// TestRefusalsOfOneRequest do not move another on.
func TestRefusalsOfOneRequest(t *testing.T) {
	t.Parallel()
	ctx := sdk.WithServices(t.Context(), sdk.Services{Env: environment(with(job(), "CI_DEPLOY_USER", "d"))})
	p := open(t, nil)
	refused := request("registry.gitlab.com/acme/base", "pull")
	refused.Reason = sdk.ReasonUnauthorized
	for _, test := range []struct {
		request sdk.CredentialRequest
		want    string
	}{
		{refused, "job"},
		{request("registry.gitlab.com/acme/base", "pull"), "job"}, // stays with what was not refused
		{request("registry.gitlab.com/acme/other", "pull"), "deploy"},
	} {
		c, err := p.Credential(ctx, test.request)
		if err != nil || c.Secret != "{{secret:"+test.want+"}}" {
			t.Errorf("%v: %s, %v, want %s", test.request, c.Secret, err, test.want)
		}
	}
}

func TestWhatUsersAreTold(t *testing.T) {
	t.Parallel()
	var log logged
	env := environment(job())
	ctx := sdk.WithServices(t.Context(), sdk.Services{Env: env, Log: &log})
	p := open(t, nil)
	r := request("registry.gitlab.com/other/project", "pull,push")
	for _, reason := range []sdk.CredentialReason{sdk.ReasonInitial, sdk.ReasonUnauthorized, sdk.ReasonUnauthorized} {
		r.Reason = reason
		if _, err := p.Credential(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if len(log) != 1 || !strings.Contains(log[0], "warning: registry.gitlab.com refused every token for pull and push in registry.gitlab.com/other/project; job") ||
		!strings.Contains(log[0], "pushes to the registry of its own project") {
		t.Errorf("logged %q", log)
	}
	for name, test := range map[string]struct {
		env    environment
		config map[string]any
		want   []string
	}{
		"not granted": {environment{}, nil, []string{"CI_REGISTRY is not granted: add it to env", "set registry"}},
		"not set":     {environment{"CI_REGISTRY": ""}, nil, []string{"CI_REGISTRY is not set", "Settings > General"}},
		"deploy token without a user": {
			environment{"CI_DEPLOY_USER": ""},
			map[string]any{"registry": "r.example.com", "rules": []any{map[string]any{"match": "r.example.com/a", "use": "deploy"}}},
			[]string{"needs a user: CI_DEPLOY_USER is not set", "gitlab-deploy-token", "tokens.deploy"},
		},
		"deploy token whose user is not granted": {
			environment{},
			map[string]any{"registry": "r.example.com", "rules": []any{map[string]any{"match": "r.example.com/a", "use": "deploy"}}},
			[]string{"CI_DEPLOY_USER is not granted: add it to env"},
		},
	} {
		ctx := sdk.WithServices(t.Context(), sdk.Services{Env: test.env})
		_, err := open(t, test.config).Credential(ctx, request("r.example.com/a/b", "pull"))
		for _, part := range test.want {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %v does not say %q", name, err, part)
			}
		}
	}
	// A host that cannot be asked is no missing variable.
	if _, err := open(t, nil).Credential(t.Context(), r); err == nil || errors.Is(err, sdk.ErrNotMine) {
		t.Errorf("without a host: %v", err)
	}
}

func TestMistakesInTheConfiguration(t *testing.T) {
	t.Parallel()
	rule := func(pairs ...any) map[string]any {
		r := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			r[fmt.Sprint(pairs[i])] = pairs[i+1]
		}
		return map[string]any{"rules": []any{r}}
	}
	token := func(name, key string, value any) map[string]any {
		return map[string]any{"tokens": map[string]any{name: map[string]any{key: value}}}
	}
	for want, config := range map[string]map[string]any{
		"unknown key rule":                         {"rule": []any{}},
		"registry must be a string":                {"registry": int64(1)},
		"rules must be tables":                     {"rules": "all"},
		"rule 1: config: match is missing":         rule("use", "job"),
		"rule 1: config: use is missing":           rule("match", "r.example.com"),
		"unknown key mach":                         rule("mach", "r.example.com", "match", "r", "use", "job"),
		`there are dependency-proxy, deploy, job`:  rule("match", "r.example.com", "use", "jb"),
		"leave out the scheme":                     rule("match", "https://r.example.com", "use", "job"),
		"take out the extra slash":                 rule("match", "r.example.com//a", "use", "job"),
		"leave out the tag":                        rule("match", "r.example.com/a:1", "use", "job"),
		"write paths in lower case":                rule("match", "r.example.com/Acme", "use", "job"),
		`write "*" for "**"`:                       rule("match", "r.example.com/**", "use", "job"),
		`"write" is no action`:                     rule("match", "r.example.com", "use", "job", "actions", []any{"write"}),
		"the token deploy is for pull only":        rule("match", "r.example.com", "use", "deploy", "actions", []any{"push"}),
		"token bot: user is missing":               token("bot", "secret", "x"),
		"token bot: config: user must be a string": token("bot", "user", true),
		"user must not have a colon":               token("bot", "user", "a:b"),
	} {
		_, err := New(t.Context(), sdk.NewConfig(config))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want %q", config, err, want)
		}
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	plugintest.CredentialProvider(t, func(t *testing.T) sdk.CredentialProvider {
		return inJob{open(t, nil)}
	}, plugintest.Registries{Known: request("registry.gitlab.com/acme/web-shop", "pull,push"), Unknown: "registry.example.com"})
}

// inJob is a provider with the services of a host.
type inJob struct{ sdk.CredentialProvider }

func (p inJob) Credential(ctx context.Context, r sdk.CredentialRequest) (sdk.Credential, error) {
	return p.CredentialProvider.Credential(sdk.WithServices(ctx, sdk.Services{Env: environment(job())}), r)
}
