package lab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
)

// registryModule is the registry, distribution's, and its version.
const registryModule = "github.com/distribution/distribution/v3/cmd/registry@v3.1.2"

// Registry is a distribution registry on loopback, without TLS.
type Registry struct {
	// Address is its host and port, as references have them.
	Address string
}

// StartRegistry starts an empty registry on a free port.
func (l *Lab) StartRegistry(ctx context.Context) (*Registry, error) {
	binary := filepath.Join(l.dir, "bin", "registry")
	if _, err := os.Stat(binary); err != nil {
		l.logf("go install %s", registryModule)
		cmd := exec.CommandContext(ctx, "go", "install", "-buildvcs=false", registryModule)
		cmd.Dir = l.dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOBIN="+filepath.Dir(binary))
		if _, err := output(cmd); err != nil {
			return nil, fmt.Errorf("compile registry: %w", err)
		}
	}
	storage, err := l.Dir("registry")
	if err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	settings := filepath.Join(l.run, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", storage, address)
	if err := os.WriteFile(settings, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("start registry: %w", err)
	}
	cmd := exec.Command(binary, "serve", settings)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none") // it would look for a collector
	ready := func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v2/", nil)
		if err != nil {
			return err
		}
		// No proxy is between us and loopback.
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		return response.Body.Close()
	}
	if err := l.start(ctx, "registry", ready, cmd); err != nil {
		return nil, err
	}
	return &Registry{Address: address}, nil
}

// freeAddress returns a loopback address with a port that is free now.
func freeAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return address, nil
}
