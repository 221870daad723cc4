package lab

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
)

// Docker is a running Docker engine without a network of its own.
type Docker struct {
	host string
}

// StartDocker starts an empty Docker engine, beside any other that runs on the machine.
func (l *Lab) StartDocker(ctx context.Context) (*Docker, error) {
	if err := l.Install(ctx, "dockerd", "docker", "runc"); err != nil {
		return nil, err
	}
	root, err := l.Dir("docker")
	if err != nil {
		return nil, err
	}
	d := &Docker{host: "unix://" + filepath.Join(l.run, "docker.sock")}
	settings := filepath.Join(l.run, "docker.json") // not the machine's own
	if err := os.WriteFile(settings, []byte("{}"), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.Command("dockerd",
		"--config-file", settings, "--host", d.host,
		"--data-root", root, "--exec-root", filepath.Join(l.run, "docker"), "--pidfile", filepath.Join(l.run, "docker.pid"),
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--exec-opt", "native.cgroupdriver=cgroupfs")
	ready := func(ctx context.Context) error {
		_, err := d.Run(ctx, "version")
		return err
	}
	if err := l.start(ctx, "dockerd", ready, cmd); err != nil {
		return nil, err
	}
	return d, nil
}

// Host is the engine's address, as $DOCKER_HOST has it.
func (d *Docker) Host() string { return d.host }

// Run runs the docker command with the arguments and returns its standard output.
func (d *Docker) Run(ctx context.Context, arguments ...string) (string, error) {
	return output(d.Command(ctx, arguments...))
}

// Command is the docker command with the arguments, not yet started.
func (d *Docker) Command(ctx context.Context, arguments ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "docker", append([]string{"--host", d.host}, arguments...)...)
}
