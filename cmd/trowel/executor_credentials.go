package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/builtin/credential/cloud"
	"github.com/trowel-build/trowel/builtin/credential/dockerconfig"
	"github.com/trowel-build/trowel/builtin/credential/env"
	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/host/config"
	"github.com/trowel-build/trowel/plugins/gitlab/token"
	"github.com/trowel-build/trowel/sdk"
)

// kanikoHome is kaniko's directory, where its image has the programs and the configuration.
const kanikoHome = "/kaniko"

// helperNames are the helpers of --credential-helpers in the order in which kaniko asks them.
var helperNames = []string{"env", string(cloud.Google), string(cloud.Amazon), string(cloud.Azure), "gitlab"}

// kanikoCredentials are the providers in kaniko's order: Docker's configuration, also that below kaniko's directory, and
// then the helpers.
func (p program) kanikoCredentials(directory string, r *registryFlags) ([]sdk.CredentialProvider, error) {
	environment := os.Environ()
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	// Helpers that the second file names run in the same environment; other files are the first provider's business.
	below := slices.DeleteFunc(slices.Clone(environment), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"}, name)
	})
	providers := []sdk.CredentialProvider{
		dockerconfig.New(dockerconfig.Config{Environment: environment, Home: home, Podman: host.PodmanLogin()}),
		dockerconfig.New(dockerconfig.Config{Environment: append(below, "DOCKER_CONFIG="+filepath.Join(directory, ".docker"))}),
	}
	wanted := r.helpers
	if len(wanted) == 0 {
		wanted = helperNames
	}
	for _, name := range wanted {
		if name == "" {
			continue
		}
		provider, err := kanikoHelper(name, environment)
		if err != nil {
			return nil, err
		}
		providers = append(providers, provider)
	}
	return providers, nil
}

func kanikoHelper(name string, environment []string) (sdk.CredentialProvider, error) {
	switch name {
	case "env":
		return env.New(env.Config{Environment: environment}), nil
	case "gitlab":
		provider, err := token.New(context.Background(), sdk.NewConfig(nil))
		return &gitlabJob{provider: provider}, err
	case string(cloud.Google), string(cloud.Amazon), string(cloud.Azure):
		return cloud.New(cloud.Config{Cloud: cloud.Cloud(name), Environment: environment})
	}
	err := fmt.Errorf("--credential-helpers: there is no helper %q: there are %s", name, strings.Join(helperNames, ", "))
	if near := config.Nearest(name, helperNames); near != "" {
		return nil, usageError{hinted{err, "did you mean " + near + "?"}}
	}
	return nil, usageError{err}
}

// gitlabJob is the plugin gitlab, compiled in: it sees the variables of the job, and this fills in the token that it names.
type gitlabJob struct{ provider sdk.CredentialProvider }

// gitlabSecrets are the variables that hold what the plugin calls by these names, the first that is set.
var gitlabSecrets = map[string][]string{
	"job":    {"CI_REGISTRY_PASSWORD", "CI_JOB_TOKEN"},
	"deploy": {"CI_DEPLOY_PASSWORD"},
}

// Credential answers for the registry and the dependency proxy of the job's GitLab.
func (g *gitlabJob) Credential(ctx context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	credential, err := g.provider.Credential(sdk.WithServices(ctx, sdk.Services{Env: jobVariables{}}), request)
	if err != nil {
		return sdk.Credential{}, err
	}
	for name, variables := range gitlabSecrets {
		if credential.Secret != "{{secret:"+name+"}}" {
			continue
		}
		if name == "job" && strings.Contains("/"+request.Repository, "/dependency_proxy/containers/") {
			variables = append([]string{"CI_DEPENDENCY_PROXY_PASSWORD"}, variables...) // that of another user, maybe
		}
		for _, v := range variables {
			if value := os.Getenv(v); value != "" {
				credential.Secret = value
				return credential, nil
			}
		}
		return sdk.Credential{}, fmt.Errorf("%s is not set: %w", strings.Join(variables, " or "), sdk.ErrNotMine)
	}
	return sdk.Credential{}, errors.New("gitlab: it names a secret that a job does not have")
}

// jobVariables are those of the environment.
type jobVariables struct{}

// Env returns those that are set.
func (jobVariables) Env(_ context.Context, names []string) ([]sdk.Variable, error) {
	var set []sdk.Variable
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			set = append(set, sdk.Variable{Name: name, Value: value})
		}
	}
	return set, nil
}
