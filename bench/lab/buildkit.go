package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	buildkitModule  = "github.com/moby/buildkit"
	buildkitVersion = "v0.34.2"
)

// BuildKit is a running buildkitd. Its steps use the network of the host.
type BuildKit struct {
	buildctl string
	socket   string
}

// StartBuildKit compiles BuildKit, unless an earlier run did, and starts it with an empty cache.
func (l *Lab) StartBuildKit(ctx context.Context, registry *Registry) (*BuildKit, error) {
	if err := l.Install(ctx, "runc"); err != nil {
		return nil, err
	}
	if err := l.compileBuildKit(ctx); err != nil {
		return nil, fmt.Errorf("compile BuildKit: %w", err)
	}
	root, err := l.Dir("buildkit")
	if err != nil {
		return nil, err
	}
	b := &BuildKit{
		buildctl: filepath.Join(l.dir, "bin", "buildctl"),
		socket:   "unix://" + filepath.Join(l.run, "buildkit.sock"),
	}
	settings := filepath.Join(l.run, "buildkitd.toml")
	text := fmt.Sprintf(`root = %q
insecure-entitlements = ["network.host", "security.insecure"]
[grpc]
  address = [%q]
[worker.oci]
  enabled = true
  snapshotter = "auto"
  networkMode = "host"
  gc = false
[worker.containerd]
  enabled = false
[registry.%q]
  http = true
`, root, b.socket, registry.Address)
	if err := os.WriteFile(settings, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("start BuildKit: %w", err)
	}
	ready := func(ctx context.Context) error {
		_, err := output(exec.CommandContext(ctx, b.buildctl, "--addr", b.socket, "debug", "workers"))
		return err
	}
	cmd := exec.Command(filepath.Join(l.dir, "bin", "buildkitd"), "--config", settings)
	if err := l.start(ctx, "buildkitd", ready, cmd); err != nil {
		return nil, err
	}
	return b, nil
}

func (l *Lab) compileBuildKit(ctx context.Context) error {
	bin := filepath.Join(l.dir, "bin")
	stamp := filepath.Join(bin, "buildkit-"+buildkitVersion)
	if _, err := os.Stat(stamp); err == nil {
		return nil
	}
	l.logf("compile BuildKit %s (some minutes)", buildkitVersion)
	if err := l.compile(ctx, buildkitModule, buildkitVersion, bin+"/", buildkitModule+"/cmd/buildkitd", buildkitModule+"/cmd/buildctl"); err != nil {
		return err
	}
	return os.WriteFile(stamp, nil, 0o644)
}

// Build builds the Dockerfile of a directory and pushes the image under the reference. More arguments are given to
// `buildctl build`. The log of the build goes to log.
func (b *BuildKit) Build(ctx context.Context, dir, reference string, log io.Writer, arguments ...string) error {
	return b.Export(ctx, dir, "type=image,push=true,registry.insecure=true,name="+reference, log, arguments...)
}

// Export does so with another output.
func (b *BuildKit) Export(ctx context.Context, dir, output string, log io.Writer, arguments ...string) error {
	arguments = append([]string{
		"--addr", b.socket, "build", "--progress=plain", "--frontend=dockerfile.v0",
		"--local=context=" + dir, "--local=dockerfile=" + dir, "--output=" + output,
	}, arguments...)
	return logged(exec.CommandContext(ctx, b.buildctl, arguments...), log)
}

// Prune empties BuildKit's cache.
func (b *BuildKit) Prune(ctx context.Context) error {
	return b.prune(ctx, "--all")
}

// PruneContexts removes BuildKit's copies of build contexts. It updates the copy that it has with what another build
// sends, whichever directory that is from, and directories then have the time of the update instead of their own.
func (b *BuildKit) PruneContexts(ctx context.Context) error {
	return b.prune(ctx, "--all", "--filter=type==source.local")
}

func (b *BuildKit) prune(ctx context.Context, arguments ...string) error {
	arguments = append([]string{"--addr", b.socket, "prune"}, arguments...)
	if _, err := output(exec.CommandContext(ctx, b.buildctl, arguments...)); err != nil {
		return fmt.Errorf("prune BuildKit: %w", err)
	}
	return nil
}

// logged runs cmd with its output going to log; an error has the end of it.
func logged(cmd *exec.Cmd, log io.Writer) error {
	var text strings.Builder
	cmd.Stdout = io.MultiWriter(&text, log)
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %q: %w\n%s", strings.Join(cmd.Args, " "), err, lastLines(text.String(), 30))
	}
	return nil
}

// Ask has BuildKit's frontend answer a request about a Dockerfile of a directory, such as "lint", and returns the text. More
// arguments are given to `buildctl build`.
func (b *BuildKit) Ask(ctx context.Context, request, dir, dockerfile string, arguments ...string) (string, error) {
	arguments = append([]string{
		"--addr", b.socket, "build", "--progress=quiet", "--frontend=dockerfile.v0", "--opt=requestid=frontend." + request,
		"--local=context=" + dir, "--local=dockerfile=" + dir, "--opt=filename=" + dockerfile,
	}, arguments...)
	return output(exec.CommandContext(ctx, b.buildctl, arguments...))
}
