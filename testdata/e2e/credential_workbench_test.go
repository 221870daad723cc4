//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/trowel-build/trowel/bench/lab"
)

// workbench has the programs of the test.
type workbench struct {
	trowel, lab, registry string
	plugins               string // the directory of gitlab and gitlab.wasm
	base                  v1.Image
}

func openWorkbench(t *testing.T) *workbench {
	t.Helper()
	root, err := lab.SourceRoot()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	w := &workbench{trowel: os.Getenv("TROWEL"), lab: filepath.Join(bin, "credentiallab"), plugins: bin, registry: installRegistry(t)}
	compile := func(to, what string, more ...string) string {
		cmd := exec.CommandContext(t.Context(), "go", append(append([]string{"build"}, more...), "-o", to, what)...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if strings.HasSuffix(to, ".wasm") {
			cmd.Env = append(cmd.Env, "GOOS=wasip1", "GOARCH=wasm")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("compile %s: %v\n%s", what, err, out)
		}
		return to
	}
	if w.trowel == "" {
		w.trowel = compile(filepath.Join(bin, "trowel"), "./cmd/trowel")
	}
	compile(w.lab, "./testdata/e2e/credentiallab")
	compile(filepath.Join(bin, "gitlab"), "./plugins/gitlab")
	compile(filepath.Join(bin, "gitlab.wasm"), "./plugins/gitlab", "-buildmode=c-shared", "-ldflags=-s -w")
	if err := os.Symlink(w.lab, filepath.Join(bin, "docker-credential-lab")); err != nil {
		t.Fatal(err)
	}
	shell, err := os.ReadFile(compile(filepath.Join(bin, "sh"), "./cmd/trowel/testdata/shell", "-ldflags=-s -w"))
	if err != nil {
		t.Fatal(err)
	}
	w.base = baseImage(t, shell)
	return w
}

// baseImage is a shell, and more data than a slow connection moves within a token's life.
func baseImage(t *testing.T, shell []byte) v1.Image {
	t.Helper()
	noise := make([]byte, 6<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for name, content := range map[string][]byte{"bin/sh": shell, "data": noise} {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(content); err != nil {
			t.Fatal(err)
		}
		if err := tw.Close(); err != nil {
			t.Fatal(err)
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
			tarball.WithMediaType(types.OCILayer))
		if err != nil {
			t.Fatal(err)
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			t.Fatal(err)
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config.Env = "linux", runtime.GOARCH, []string{"PATH=/bin"}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

func (w *workbench) pushBase(t *testing.T, registry string, a *authority) {
	t.Helper()
	tag, err := name.NewTag(registry+"/library/base:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, w.base, remote.WithTransport(itself{a})); err != nil {
		t.Fatal(err)
	}
}

// job is one build.
type job struct {
	*workbench
	authority         *authority
	registry, context string
}

func (j *job) tag() string { return j.registry + "/team/app:1" }

// environment is what the build sees, and nothing of this machine's credentials.
func (j *job) environment(t *testing.T, more ...string) []string {
	t.Helper()
	return append([]string{
		"HOME=" + t.TempDir(), "PATH=" + j.plugins + ":" + os.Getenv("PATH"),
	}, more...)
}

func (j *job) trowelBuild(t *testing.T, env []string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), j.trowel, "build", "--push", "-t", j.tag(), "--progress=plain", j.context)
	cmd.Env = env
	return cmd
}

// withVariables runs trowel with a password in the environment.
func withVariables(t *testing.T, j *job) *exec.Cmd {
	variable := "TROWEL_REGISTRY_" + strings.NewReplacer(".", "_", ":", "_").Replace(j.registry)
	return j.trowelBuild(t, j.environment(t, variable+"_USER=ci", variable+"_PASSWORD="+j.authority.password()))
}

// withHelper runs trowel with a credential helper, as docker's configuration names one.
func withHelper(t *testing.T, j *job) *exec.Cmd {
	dir := t.TempDir()
	config, err := json.Marshal(map[string]any{"credHelpers": map[string]string{j.registry: "lab"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	return j.trowelBuild(t, j.environment(t, "DOCKER_CONFIG="+dir, "LAB_PASSWORDS="+j.authority.URL+"/password"))
}

// gitLabJob is the environment of a job of GitLab.
func (j *job) gitLabJob(t *testing.T) []string {
	t.Helper()
	return j.environment(t, "CI_REGISTRY="+j.registry, "CI_REGISTRY_USER=gitlab-ci-token", "CI_PROJECT_PATH=team/app",
		"CI_JOB_TOKEN="+j.authority.password())
}

// withGitLab builds with the plugin's code, compiled in.
func withGitLab(t *testing.T, j *job) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), j.lab, j.context, j.tag())
	cmd.Env = j.gitLabJob(t)
	return cmd
}

// withPlugin runs trowel with the plugin gitlab from a file, configured as its README says.
func withPlugin(program string) func(t *testing.T, j *job) *exec.Cmd {
	return func(t *testing.T, j *job) *exec.Cmd {
		readme, err := os.ReadFile("../../plugins/gitlab/README.md")
		if err != nil {
			t.Fatal(err)
		}
		_, text, found := strings.Cut(string(readme), "```toml\n")
		text, _, closed := strings.Cut(text, "```")
		if !found || !closed {
			t.Fatal("the plugin's README has no configuration")
		}
		source := fmt.Sprintf("source = %q", "file:"+filepath.Join(j.plugins, program))
		if !strings.HasSuffix(program, ".wasm") {
			source += "\ntrust = \"native\""
		}
		for _, change := range [][2]string{{`source = "builtin:gitlab"`, source}, {`"registry.gitlab.com"`, fmt.Sprintf("%q", j.registry)}} {
			if strings.Count(text, change[0]) != 1 {
				t.Fatalf("the README's configuration should have %s once", change[0])
			}
			text = strings.Replace(text, change[0], change[1], 1)
		}
		project := t.TempDir()
		if err := os.WriteFile(filepath.Join(project, "trowel.toml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := j.trowelBuild(t, j.gitLabJob(t))
		cmd.Dir = project
		return cmd
	}
}

// checkImage demands that the registry has the image whole.
func checkImage(t *testing.T, registry, digest string, a *authority) {
	t.Helper()
	ref, err := name.ParseReference(registry+"/team/app@"+digest, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref, remote.WithTransport(itself{a}))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
}

// distribution is the registry. Its directory is shared with the tests of package registry.
const (
	distributionModule  = "github.com/distribution/distribution/v3/cmd/registry"
	distributionVersion = "v3.1.2"
)

// installRegistry returns the path of the registry, built at first use.
func installRegistry(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(cache, "trowel-e2e", "distribution-"+distributionVersion)
	if _, err := os.Stat(filepath.Join(bin, "registry")); err == nil {
		return filepath.Join(bin, "registry")
	}
	if err := os.MkdirAll(filepath.Dir(bin), 0o755); err != nil {
		t.Fatal(err)
	}
	building, err := os.MkdirTemp(filepath.Dir(bin), "building-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(building) })
	cmd := exec.CommandContext(t.Context(), "go", "install", distributionModule+"@"+distributionVersion)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+building, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("install %s: %v\n%s", distributionModule, err, out)
	}
	if err := os.Rename(building, bin); err != nil && !errors.Is(err, os.ErrExist) { // another run may have been first
		t.Fatal(err)
	}
	return filepath.Join(bin, "registry")
}

// startRegistry runs a registry with more lines in its configuration, and returns its address.
func startRegistry(t *testing.T, binary, more string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	file := filepath.Join(t.TempDir(), "config.yml")
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n%s", t.TempDir(), address, more)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, "serve", file)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the registry wrote:\n%s", output.String())
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatalf("the registry does not listen: %v", err)
		}
	}
}
