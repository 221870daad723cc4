package token

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/sdk"
)

// actions are what a token may be used for.
type actions []string

// The actions that registries know.
const (
	pull = "pull"
	push = "push"
)

// cover says whether all that is wanted is there.
func (a actions) cover(wanted []string) bool {
	for _, w := range wanted {
		if !slices.Contains(a, w) {
			return false
		}
	}
	return true
}

// kind is a token that can be shown.
type kind struct {
	name    string
	user    string // as configured; empty: that of the variable
	userVar string // the variable that names the user
	orUser  string // the user where the variable is not set; empty: it has to be
	secret  string // the name of the grant
	actions actions
	about   string // what to look at when it is refused
}

// The tokens that need no configuration.
const (
	kindJob    = "job"
	kindDeploy = "deploy"
	kindProxy  = "dependency-proxy"
)

func builtinKinds() map[string]kind {
	return map[string]kind{
		kindJob: {
			name: kindJob, userVar: varUser, orUser: "gitlab-ci-token", secret: "job", actions: actions{pull, push},
			about: "a job token ends with its job, pushes to the registry of its own project, and pulls from others that allow it under Settings > CI/CD > Job token permissions",
		},
		kindDeploy: {
			name: kindDeploy, userVar: varDeployUser, secret: "deploy", actions: actions{pull},
			about: "a deploy token may have expired or been revoked, is for its own project or group, and needs the scope read_registry to pull and write_registry to push: see Settings > Repository > Deploy tokens",
		},
		kindProxy: {
			name: kindProxy, userVar: varProxyUser, orUser: "gitlab-ci-token", secret: "job", actions: actions{pull},
			about: "the dependency proxy must be turned on for the group, of which whoever started the job must be a member",
		},
	}
}

// rule says which token is for what.
type rule struct {
	pattern pattern
	use     string
	actions actions
}

// settings are the user's.
type settings struct {
	registry string // instead of CI_REGISTRY
	kinds    map[string]kind
	rules    []rule
}

// New makes a provider from the table [plugins.NAME.config].
func New(_ context.Context, config *sdk.Config) (sdk.CredentialProvider, error) {
	s, err := readSettings(config)
	if err != nil {
		return nil, err
	}
	return &Provider{settings: s, variables: variables{read: map[string]variable{}}, turns: map[string]int{}}, nil
}

func readSettings(config *sdk.Config) (settings, error) {
	s := settings{kinds: builtinKinds()}
	values := map[string]any{}
	for key, value := range config.Values() {
		values[key] = value
	}
	rules := values["rules"]
	delete(values, "rules")
	rest := sdk.NewConfig(values)
	s.registry = rest.String("registry", "")
	tokens := rest.Table("tokens")
	if err := rest.Err(); err != nil {
		return s, err
	}
	for name := range tokens.Values() {
		k, err := readKind(name, s.kinds[name], tokens)
		if err != nil {
			return s, err
		}
		s.kinds[name] = k
	}
	list, ok := rules.([]any)
	if rules != nil && !ok {
		return s, invalid("config: rules must be tables: write [[plugins.NAME.config.rules]]")
	}
	for i, value := range list {
		r, err := readRule(value, s.kinds)
		if err != nil {
			return s, invalid("config: rule " + strconv.Itoa(i+1) + ": " + err.Error())
		}
		s.rules = append(s.rules, r)
	}
	return s, nil
}

// readKind reads a table of tokens over what is known of the token.
func readKind(name string, k kind, tokens *sdk.Config) (kind, error) {
	table := tokens.Table(name)
	if k.name == "" {
		k = kind{name: name, secret: name, actions: actions{pull, push}, about: "it may have expired or been revoked, or lack the scope read_registry or write_registry"}
	}
	k.user = table.String("user", k.user)
	k.secret = table.String("secret", k.secret)
	var reason string
	if k.actions, reason = readActions(table, k.actions); reason == "" && strings.ContainsAny(k.user, ":\x00\r\n") {
		reason = "user must not have a colon or a line break"
	}
	if k.user == "" && k.userVar == "" && reason == "" {
		reason = "user is missing: any name does for a personal, group or project access token"
	}
	if err := tokens.Err(); err != nil {
		return k, err
	}
	if err := table.Err(); err != nil {
		return k, invalid("token " + name + ": " + err.Error())
	}
	if reason != "" {
		return k, invalid("config: token " + name + ": " + reason)
	}
	return k, nil
}

func readActions(table *sdk.Config, fallback actions) (a actions, reason string) {
	given := table.Strings("actions")
	if given == nil {
		return fallback, ""
	}
	for _, action := range given {
		if action != pull && action != push {
			return nil, strconv.Quote(action) + ` is no action: they are "pull" and "push"`
		}
	}
	return given, ""
}

func readRule(value any, kinds map[string]kind) (rule, error) {
	values, ok := value.(map[string]any)
	if !ok {
		return rule{}, invalid("must be a table")
	}
	table := sdk.NewConfig(values)
	text, r := table.Required("match"), rule{use: table.Required("use")}
	var wrong, reason string
	r.actions, wrong = readActions(table, nil)
	if err := table.Err(); err != nil {
		return r, err
	}
	r.pattern, reason = parsePattern(text)
	k, known := kinds[r.use]
	switch {
	case reason != "":
		return r, invalid("match " + strconv.Quote(text) + ": " + reason)
	case wrong != "":
		return r, invalid(wrong)
	case !known:
		return r, invalid("use " + strconv.Quote(r.use) + ": there is no such token; there are " + names(kinds) + ", and those that you add under tokens")
	case !k.actions.cover(r.actions):
		return r, invalid("the token " + k.name + " is for " + strings.Join(k.actions, " and ") + " only; if it may do more, say so by actions in its table under tokens")
	case r.actions == nil:
		r.actions = k.actions
	}
	return r, nil
}

func names(kinds map[string]kind) string {
	var all []string
	for name := range kinds {
		all = append(all, name)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func invalid(message string) error {
	return &sdk.Error{Code: sdk.CodeInvalid, Message: message}
}
