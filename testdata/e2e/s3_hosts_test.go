//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trowel-build/trowel/bench/lab"
)

// team is what hosts have in common: a bucket, a registry, and a context with a Dockerfile of 30 steps.
type team struct {
	minio    *minio
	bucket   string
	registry *lab.Registry
	binary   string
	dir      string
}

// newTeam starts what a team has, until t ends.
func newTeam(t *testing.T) *team {
	t.Helper()
	m := startMinIO(t)
	l, err := lab.Open(labDir(t), os.Stderr)
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	registry, err := l.StartRegistry(t.Context())
	must(t, err)
	must(t, l.PushBase(t.Context(), registry))
	binary := os.Getenv("TROWEL")
	if binary == "" {
		binary, err = l.Trowel(t.Context())
		must(t, err)
	}
	team := &team{minio: m, bucket: m.newBucket(t), registry: registry, binary: binary, dir: t.TempDir()}
	var text strings.Builder
	fmt.Fprintf(&text, "FROM %s/library/debian:12 AS make\n", registry.Address)
	for i := range 15 {
		fmt.Fprintf(&text, "RUN head -c 1000000 /dev/urandom > /made-%d\n", i)
	}
	fmt.Fprintf(&text, "FROM %s/library/debian:12\nCOPY --from=make /made-* /made/\n", registry.Address)
	for i := range 14 {
		fmt.Fprintf(&text, "RUN echo %d >> /steps\n", i)
	}
	must(t, os.Mkdir(filepath.Join(team.dir, "ctx"), 0o755))
	must(t, os.WriteFile(filepath.Join(team.dir, "ctx", "Dockerfile"), []byte(text.String()), 0o644))
	return team
}

// config writes a configuration with the bucket as the only cache beside the local one, reached at an address, and records
// that are authenticated with the key of that environment variable.
func (y *team) config(t *testing.T, address, key string) string {
	t.Helper()
	f, err := os.CreateTemp(y.dir, "*.toml")
	must(t, err)
	fmt.Fprintf(f, `[plugins.team]
kind = "cache"
source = "builtin:s3"
record-key = { env = %q }
[plugins.team.allow]
hosts = ["http://%s", "127.0.0.1"]
secrets.s3 = { env = "S3_SECRET_KEY", use = "sign-aws4" }
[plugins.team.config]
endpoint = "http://%s"
bucket = %q
region = %q
access-key-id = %q
`, key, address, address, y.bucket, minioRegion, minioKey)
	must(t, f.Close())
	return f.Name()
}

// host is a machine as far as builds can tell: a directory of its own, with a cache that others do not see.
type host struct {
	*team
	name, config string
}

// built is what a build gave and took.
type built struct {
	digest, log string
	wall, cpu   time.Duration
}

// build builds the context with nothing but the host's own cache and the bucket, and pushes it.
func (h host) build(t *testing.T, reference string) built {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), h.binary, "build", "--config", h.config, "--cache-dir", filepath.Join(h.dir, h.name),
		"--progress=plain", "-t", reference, "--push", filepath.Join(h.dir, "ctx"))
	cmd.Env = append(os.Environ(), "S3_SECRET_KEY="+minioSecret, "TROWEL_CACHE_KEY=a key that both hosts know")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("build: %v\n%s", err, stderr.String())
	}
	wall := time.Since(start)
	return built{
		digest: strings.TrimSpace(stdout.String()), log: stderr.String(),
		wall: wall, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(),
	}
}

// ran says whether a build did any step: what it pulled and pushed is told as done, too.
func (b built) ran() bool {
	steps := map[string]bool{}
	for line := range strings.Lines(b.log) {
		number, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case strings.HasPrefix(rest, "["):
			steps[number] = true
		case strings.HasPrefix(rest, "DONE ") && steps[number]:
			return true
		}
	}
	return false
}
