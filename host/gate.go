package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// gate keeps apart what cannot be beside a process that runs in place: then the root directory is an image's, so that a
// credential helper would be the image's program, with the builder's environment, and files are not where they were.
type gate struct {
	sync.RWMutex
	// pause stops what the builder has started; nil for nothing.
	pause func(context.Context) (resume func(), err error)
	warn  func(text string)
	told  sync.Once
}

// pausePatience is how long a process waits for calls of plugins to end: one may itself wait for a process to run.
const pausePatience = 5 * time.Second

// enter is called before a process runs in place, and leave after it.
func (g *gate) enter(ctx context.Context) (leave func(), err error) {
	resume := func() {}
	if g.pause != nil {
		patience, cancel := context.WithTimeout(ctx, pausePatience)
		paused, err := g.pause(patience)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			g.told.Do(func() { g.warn(fmt.Sprintf("plugins run while a RUN runs in place, which can reach them: %v", err)) })
		default:
			resume = paused
		}
	}
	g.Lock()
	return func() {
		g.Unlock()
		resume()
	}, nil
}

// still keeps processes from running in place until release is called.
func (g *gate) still() (release func()) {
	g.RLock()
	return g.RUnlock
}

// gated are providers that answer while no process runs in place.
func (g *gate) gated(providers []sdk.CredentialProvider) []sdk.CredentialProvider {
	list := make([]sdk.CredentialProvider, len(providers))
	for i, p := range providers {
		list[i] = gatedCredentials{g, p}
	}
	return list
}

type gatedCredentials struct {
	gate *gate
	sdk.CredentialProvider
}

// Credential implements [sdk.CredentialProvider].
func (c gatedCredentials) Credential(ctx context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	c.gate.RLock()
	defer c.gate.RUnlock()
	return c.CredentialProvider.Credential(ctx, request)
}

// veiled are the files that hold credentials where programs look for them, and those of the build's secrets.
func (b *build) veiled() []string {
	var paths []string
	for _, s := range b.Secrets {
		if s.File != "" {
			paths = append(paths, s.File)
		}
	}
	for name, below := range map[string]string{
		"DOCKER_CONFIG": "config.json", "REGISTRY_AUTH_FILE": "", "XDG_RUNTIME_DIR": "containers/auth.json", "XDG_CONFIG_HOME": "containers/auth.json",
		"HOME": ".docker/config.json", "GOOGLE_APPLICATION_CREDENTIALS": "", "AWS_SHARED_CREDENTIALS_FILE": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "",
		"AZURE_FEDERATED_TOKEN_FILE": "",
	} {
		if value := os.Getenv(name); value != "" {
			paths = append(paths, filepath.Join(value, below))
		}
	}
	if home := os.Getenv("HOME"); home != "" {
		for _, name := range []string{".aws/credentials", ".config/containers/auth.json", ".config/gcloud/application_default_credentials.json", ".netrc", ".git-credentials"} {
			paths = append(paths, filepath.Join(home, name))
		}
	}
	paths = append(paths, PodmanLogin(), "/kaniko/.docker/config.json", "/var/run/secrets/kubernetes.io/serviceaccount/token")
	for i, path := range paths {
		if absolute, err := filepath.Abs(path); err == nil {
			paths[i] = absolute
		}
	}
	return paths
}

// PodmanLogin is where Podman keeps this user's credentials where XDG_RUNTIME_DIR is not set.
func PodmanLogin() string { return fmt.Sprintf("/run/containers/%d/auth.json", outsideID()) }

// readSecrets reads the secrets that lie in files, which are not there while a process runs in place. What is wrong with one
// is told when it is wanted.
func (b *build) readSecrets(ctx context.Context) {
	for id, s := range b.Secrets {
		if s.File != "" {
			_, _ = b.secrets.Get(ctx, id)
		}
	}
}
