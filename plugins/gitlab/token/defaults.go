package token

import (
	"context"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/sdk"
)

// proxyPath is what the paths of all groups' dependency proxies have in them.
const proxyPath = "/dependency_proxy/containers/"

// byDefault returns the tokens that a GitLab job would use for a request, the best one first. Without a configured
// registry it is the job that says which one is its own.
func (p *Provider) byDefault(ctx context.Context, request sdk.CredentialRequest) ([]string, error) {
	job, err := p.jobFacts(ctx)
	if err != nil {
		return nil, err
	}
	registry, pushes := canonicalHost(request.Registry), slices.Contains(request.Actions, push)
	switch {
	case job.proxy.value != "" && registry == canonicalHost(job.proxy.value) && strings.Contains("/"+request.Repository, proxyPath):
		return []string{kindProxy}, nil
	case job.registry.value == "" && !job.registry.granted:
		return nil, invalid("it is not known which registry is GitLab's: " + job.registry.cure() + ", or set registry in its table config")
	case job.registry.value == "":
		return nil, notMine("outside of a GitLab job, or in one whose project has no container registry: " + job.registry.cure() +
			"; turn the registry on under Settings > General > Visibility, or set registry in the plugin's table config")
	case registry != canonicalHost(job.registry.value):
		return nil, notMine(request.Registry + " is neither " + job.registry.value + " nor in a rule")
	case job.deployUser == "":
		return []string{kindJob}, nil
	case pushes || job.owns(request.Repository):
		return []string{kindJob, kindDeploy}, nil
	}
	// What is another project's, a job token may pull only where that project lets it.
	return []string{kindDeploy, kindJob}, nil
}

// jobFacts are what the job's variables say.
type jobFacts struct {
	registry   variable
	proxy      variable
	project    string
	deployUser string
}

func (p *Provider) jobFacts(ctx context.Context) (f jobFacts, err error) {
	var all [4]variable
	for i, name := range []string{varRegistry, varProxyServer, varProject, varDeployUser} {
		if all[i], err = p.variables.look(ctx, name); err != nil {
			return f, err
		}
	}
	f.registry, f.proxy, f.project, f.deployUser = all[0], all[1], strings.ToLower(all[2].value), all[3].value
	if p.settings.registry != "" {
		f.registry.value = p.settings.registry
	}
	if user := p.settings.kinds[kindDeploy].user; user != "" {
		f.deployUser = user
	}
	return f, nil
}

// owns says whether a repository is in the registry of the job's project.
func (f *jobFacts) owns(repository string) bool {
	return f.project != "" && (repository == f.project || strings.HasPrefix(repository, f.project+"/"))
}
