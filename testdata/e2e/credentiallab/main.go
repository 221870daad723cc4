// Command credentiallab is what the tests of expiring credentials run beside trowel itself:
//
//	docker-credential-lab get          a credential helper: asks LAB_PASSWORDS for a password each time
//	credentiallab CONTEXT TAG          builds and pushes with the code of the plugin gitlab as the only credential provider
//
// Between that code and the host there is nothing here, but the services are those that the host gives to plugins.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/host/plugin/match"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/plugins/gitlab/token"
	"github.com/trowel-build/trowel/sdk"
)

func main() {
	launcher := host.NewLauncher()
	ctx := context.Background()
	err := errors.New("usage: credentiallab CONTEXT TAG, or docker-credential-lab get")
	switch {
	case filepath.Base(os.Args[0]) == "docker-credential-lab":
		err = help(ctx)
	case len(os.Args) == 3:
		err = build(ctx, launcher, os.Args[1], os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "credentiallab: error:", err)
		var hinted interface{ Hint() string }
		if errors.As(err, &hinted) {
			fmt.Fprintln(os.Stderr, "hint:", hinted.Hint())
		}
		os.Exit(1)
	}
}

// help answers as a credential helper.
func help(ctx context.Context) error {
	server, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, os.Getenv("LAB_PASSWORDS"), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	password, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(fmt.Errorf("ask for a password: %s", resp.Status), err)
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]string{
		"ServerURL": string(server), "Username": "ci", "Secret": string(password),
	})
}

// build builds and pushes as `trowel build --push` does.
func build(ctx context.Context, launcher *host.Launcher, dir, tag string) (err error) {
	if err := host.Harden(); err != nil {
		return err
	}
	progress, err := host.NewProgress("plain", os.Stderr, os.Getenv)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, progress.Close()) }()
	registry, _, _ := strings.Cut(tag, "/")
	credentials, closePlugin, err := compiledIn(ctx, registry)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closePlugin()) }()
	result, err := host.Build(ctx, host.Request{
		Context: dir, Tags: []string{tag}, Push: host.On, Credentials: []sdk.CredentialProvider{credentials},
		Launcher: launcher, Progress: progress, UserAgent: "credentiallab",
	})
	if err != nil {
		return err
	}
	fmt.Println(result.Digest)
	return nil
}

// grants are those of the plugin's README.
func grants() service.Grants {
	secret := service.Secret{Use: "reply"}
	secret.Env = "CI_JOB_TOKEN"
	return service.Grants{
		Env:     []string{"CI_REGISTRY", "CI_REGISTRY_USER", "CI_PROJECT_PATH", "CI_DEPENDENCY_PROXY_SERVER", "CI_DEPENDENCY_PROXY_USER", "CI_DEPLOY_USER"},
		Secrets: map[string]service.Secret{"job": secret},
	}
}

func report(level sdk.Level, text string) { fmt.Fprintf(os.Stderr, "%s: %s\n", level, text) }

// compiledIn is the plugin's code without a transport between it and the host.
func compiledIn(ctx context.Context, registry string) (sdk.CredentialProvider, func() error, error) {
	services, err := service.New(service.Options{Plugin: "gitlab", Kind: sdk.KindCredential, Grants: grants(), Report: report})
	if err != nil {
		return nil, nil, err
	}
	p, err := token.New(ctx, sdk.NewConfig(nil))
	if err != nil {
		return nil, nil, err
	}
	list, err := match.ParseList([]string{registry})
	if err != nil {
		return nil, nil, err
	}
	end := func() error {
		services.Close()
		return nil
	}
	return list.Provider(&served{p, services}), end, nil
}

// served gives a provider the host's services, and fills in what it answers.
type served struct {
	sdk.CredentialProvider
	services *service.Services
}

// Credential is [sdk.CredentialProvider]'s.
func (s *served) Credential(ctx context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	answer, err := s.CredentialProvider.Credential(sdk.WithServices(ctx, s.services.SDK()), request)
	if err != nil {
		return answer, err
	}
	answer.Secret, err = s.services.FillReply(answer.Secret, request.Registry)
	return answer, err
}
