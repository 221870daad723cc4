//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
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
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/trowel-build/trowel/bench/lab"
)

// yard is where builds with plugins from outside are run: a registry that wants tokens, and what has a base with a shell.
type yard struct {
	trowel    string
	registry  string
	authority *authority
	context   string // of the builds
}

// yardDockerfile makes the same image every time, down to the times of files: that is what "the right image" is held against.
const yardDockerfile = `FROM @REGISTRY@/library/base:1 AS build
WORKDIR /src
COPY src .
RELEASE src/VERSION /etc/release
RUN echo first-$((20+22)) && sha256sum * > /sums && touch -d @1600000000 /sums /
RUN echo second-$((20+22)) && cat data data > /twice && sha256sum /twice >> /sums && touch -d @1600000000 /sums /twice /

FROM @REGISTRY@/library/base:1
RELEASE src/VERSION /etc/release
RELEASE src/VERSION /app/release
COPY --from=build /sums /twice /app/
RUN echo third-$((20+22)) && echo 'cat /app/release && sha256sum /app/twice' > /app/start && touch -d @1600000000 /app/start /app
CMD ["sh", "/app/start"]
`

// ran is what the commands of RUN print when they are run: their texts do not have it.
var ran = []string{"first-42", "second-42", "third-42"}

func openYard(t *testing.T) *yard {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these builds are run as root; become root first")
	}
	root, err := lab.SourceRoot()
	if err != nil {
		t.Fatal(err)
	}
	y := &yard{trowel: os.Getenv("TROWEL"), authority: newAuthority(t, lasting, honest()), context: t.TempDir()}
	if y.trowel == "" {
		y.trowel = filepath.Join(t.TempDir(), "trowel")
		authorRun(t, append(os.Environ(), "CGO_ENABLED=0"), root, "go", "build", "-o", y.trowel, "./cmd/trowel")
	}
	y.registry = startRegistry(t, installRegistry(t), y.authority.configuration(t))
	y.pushBase(t)
	data := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(data)
	for file, content := range map[string]string{
		"Dockerfile": strings.ReplaceAll(yardDockerfile, "@REGISTRY@", y.registry), "src/VERSION": "1.2.3\n", "src/data": string(data),
	} {
		file = filepath.Join(y.context, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return y
}

// pushBase pushes a base that is a static busybox and its names.
func (y *yard) pushBase(t *testing.T) {
	t.Helper()
	installTools(t, map[string]string{"busybox": "busybox-static"})
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	shell, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	write := func(h tar.Header, content []byte) {
		if err := tw.WriteHeader(&h); err == nil {
			_, err = tw.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin/", "etc/", "tmp/"} {
		write(tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	write(tar.Header{Name: "bin/busybox", Mode: 0o755, Size: int64(len(shell))}, shell)
	for _, name := range []string{"cat", "sh", "sha256sum", "touch"} {
		write(tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	if err != nil {
		t.Fatal(err)
	}
	if image, err = mutate.ConfigFile(image, y.baseConfig(t, image)); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(y.registry+"/library/base:1", name.Insecure)
	if err == nil {
		err = remote.Write(tag, image, remote.WithTransport(access{y.authority}))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (y *yard) baseConfig(t *testing.T, image v1.Image) *v1.ConfigFile {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config.Env = "linux", runtime.GOARCH, []string{"PATH=/bin"}
	return config
}

// access is the test's own way into the registry.
type access struct{ *authority }

// RoundTrip sends a request with a token of its own.
func (a access) RoundTrip(r *http.Request) (*http.Response, error) {
	path, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/")
	path, _, _ = strings.Cut(path, "/manifests/")
	token, err := a.token("test", "lab", []string{"repository:" + path + ":pull,push"})
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return http.DefaultTransport.RoundTrip(r)
}

// pushed is the digest of the image that a plot's build pushed, or empty if there is none.
func (y *yard) pushed(t *testing.T, plot string) string {
	t.Helper()
	ref, err := name.NewTag(y.registry+"/team/"+plot+":1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	found, err := remote.Head(ref, remote.WithTransport(access{y.authority}))
	if refused, ok := errors.AsType[*transport.Error](err); ok && refused.StatusCode == http.StatusNotFound {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return found.Digest.String()
}

// whole demands that the registry has every byte of the image of a plot.
func (y *yard) whole(t *testing.T, plot, digest string) v1.Image {
	t.Helper()
	ref, err := name.NewDigest(y.registry+"/team/"+plot+"@"+digest, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref, remote.WithTransport(access{y.authority}))
	if err == nil {
		err = validate.Image(image)
	}
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// plot is where one build is run: nothing of it is another's, nor is the repository that it pushes to.
type plot struct {
	*yard
	dir  string // has trowel.toml
	name string
}

// newPlot makes a plot with a configuration.
func (y *yard) newPlot(t *testing.T, name, config string) *plot {
	t.Helper()
	dir, err := os.MkdirTemp("", "plot") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	p := &plot{yard: y, dir: dir, name: name}
	for _, sub := range []string{"cache", "home", "tmp", "work"} {
		if err := os.Mkdir(filepath.Join(p.dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	p.write(t, "trowel.toml", config)
	return p
}

func (p *plot) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// command is trowel in the plot, which sees nothing of this machine's configuration.
func (p *plot) command(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), p.trowel, args...)
	cmd.Dir = p.dir
	cmd.Env = []string{
		"HOME=" + filepath.Join(p.dir, "home"), "PATH=" + os.Getenv("PATH"), "TMPDIR=" + filepath.Join(p.dir, "tmp"),
		"TROWEL_PLUGIN_DIR=" + filepath.Join(p.dir, "installed"), "TEAM_KEY=" + teamKey, "SOURCE_DATE_EPOCH=1700000000",
	}
	cmd.WaitDelay = time.Second // a process that was left behind may hold the output
	return cmd
}

// build is the command that builds and pushes.
func (p *plot) build(t *testing.T, more ...string) *exec.Cmd {
	args := []string{
		"build", "--push", "-t", p.registry + "/team/" + p.name + ":1", "--progress=plain",
		"--cache-dir", filepath.Join(p.dir, "cache"), "--work-dir", filepath.Join(p.dir, "work"),
	}
	return p.command(t, append(append(args, more...), p.context)...)
}

// outcome is how a command ended.
type outcome struct {
	err            error
	digest, output string
	took           time.Duration
}

func (o outcome) message() string {
	_, says, found := strings.Cut(o.output, "trowel: error: ")
	if !found {
		return ""
	}
	return says
}

// start starts a command; what it returns waits for the end.
func start(t *testing.T, cmd *exec.Cmd) (finish func() outcome) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return func() outcome { return outcome{err: err} }
	}
	return func() outcome {
		err := cmd.Wait()
		return outcome{err, strings.TrimSpace(stdout.String()), stderr.String(), time.Since(began)}
	}
}

// installTools installs Debian packages by the commands that are missing.
func installTools(t *testing.T, packages map[string]string) {
	t.Helper()
	var missing []string
	for command, name := range packages {
		if _, err := exec.LookPath(command); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		env := append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		authorRun(t, env, "", "apt-get", "update")
		authorRun(t, env, "", "apt-get", append([]string{"install", "-y", "--no-install-recommends"}, missing...)...)
	}
}

// outsidePlugins are the files of the three plugins.
type outsidePlugins struct{ release, shelf, vault string }

// outsideSettings are what differs between configurations of the three.
type outsideSettings struct {
	suffix                 string            // of the plugins' names
	registry, store, vault string            // where they are
	more                   map[string]string // lines of a plugin's config
	limits                 string            // of each plugin
}

// config is a trowel.toml with the three.
func (o outsidePlugins) config(s outsideSettings) string {
	return fmt.Sprintf(`[plugins.release%[7]s]
kind   = "instruction"
source = "file:%[1]s"
allow.files = ["context"]
%[8]s
[plugins.release%[7]s.config]
greeting = "version"
%[9]s

[plugins.shelf%[7]s]
kind   = "cache"
source = "file:%[2]s"
%[8]s
[plugins.shelf%[7]s.allow]
hosts        = ["%[4]s"]
secrets.team = { env = "TEAM_KEY", use = "header" }
[plugins.shelf%[7]s.config]
endpoint = "%[4]s"
team     = "blue"
%[10]s

[plugins.vault%[7]s]
kind   = "credential"
source = "file:%[3]s"
trust  = "native"
match  = ["%[5]s"]
%[8]s
[plugins.vault%[7]s.config]
registries = ["%[5]s"]
vault      = "%[6]s"
%[11]s
`, o.release, o.shelf, o.vault, s.store, s.registry, s.vault, s.suffix, s.limits, s.more["release"], s.more["shelf"], s.more["vault"])
}
