//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trowel-build/trowel/bench/lab"
)

// host is a machine as far as builds can tell: a directory of its own, with a cache that others do not see.
type host struct {
	t              *testing.T
	binary, dir    string
	config, secret string
}

// build builds the context with nothing but the host's own cache and the bucket, and returns the digest, what was shown, and
// how long it took.
func (h host) build(reference string) (digest, log string, took time.Duration) {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), h.binary, "build", "--config", h.config, "--cache-dir", filepath.Join(h.dir, "cache"), "--progress=plain", "-t", reference, "--push", filepath.Join(filepath.Dir(h.config), "ctx"))
	cmd.Env = append(os.Environ(), "S3_SECRET_KEY="+h.secret, "TROWEL_CACHE_KEY=a key that both hosts know")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		h.t.Fatalf("build: %v\n%s", err, stderr.String())
	}
	return strings.TrimSpace(stdout.String()), stderr.String(), time.Since(start)
}

// TestS3TwoHosts builds on one host and again on others that share nothing with it but the bucket.
func TestS3TwoHosts(t *testing.T) {
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
	bucket := m.newBucket(t)
	var requests atomic.Int64
	proxy := m.proxy(t, func(int64, *http.Request) proxyFault { requests.Add(1); return faultNone })
	address := strings.TrimPrefix(proxy.URL, "http://")
	dir := t.TempDir()
	config := filepath.Join(dir, "trowel.toml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, `[plugins.team]
kind = "cache"
source = "builtin:s3"
record-key = { env = "TROWEL_CACHE_KEY" }
[plugins.team.allow]
hosts = ["http://%s", "127.0.0.1"]
secrets.s3 = { env = "S3_SECRET_KEY", use = "sign-aws4" }
[plugins.team.config]
endpoint = "http://%s"
bucket = %q
region = %q
access-key-id = %q
`, address, address, bucket, minioRegion, minioKey), 0o644))
	var text strings.Builder
	fmt.Fprintf(&text, "FROM %s/library/debian:12 AS make\n", registry.Address)
	for i := range 15 {
		fmt.Fprintf(&text, "RUN head -c 1000000 /dev/urandom > /made-%d\n", i)
	}
	fmt.Fprintf(&text, "FROM %s/library/debian:12\nCOPY --from=make /made-* /made/\n", registry.Address)
	for i := range 14 {
		fmt.Fprintf(&text, "RUN echo %d >> /steps\n", i)
	}
	must(t, os.Mkdir(filepath.Join(dir, "ctx"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "ctx", "Dockerfile"), []byte(text.String()), 0o644))

	at := func(name string) host { return host{t, binary, filepath.Join(dir, name), config, minioSecret} }
	first := at("first")
	reference := registry.Address + "/e2e/two-hosts:1"
	digest, _, cold := first.build(reference)
	requests.Store(0)
	again, log, local := first.build(reference)
	if again != digest || strings.Contains(log, " DONE ") {
		t.Fatalf("the rebuild from the local cache made %s of %s:\n%s", again, digest, log)
	}
	if n := requests.Load(); n > 0 {
		t.Errorf("a rebuild that the local cache has all of made %d requests of the bucket", n)
	}
	for _, name := range []string{"second", "third"} {
		requests.Store(0)
		other, log, remote := at(name).build(reference)
		n := requests.Load()
		if other != digest {
			t.Errorf("host %s made %s, not %s", name, other, digest)
		}
		if strings.Contains(log, "RUN") && strings.Contains(log, " DONE ") {
			t.Errorf("host %s ran something:\n%s", name, log)
		}
		// 30 steps: one batch of look-ups of their records, one of the blobs that those name, and what is downloaded.
		t.Logf("cold %v, local %v, from the bucket %v with %d requests", cold, local, remote, n)
	}
	// A host that was given another key believes nothing that is in the bucket.
	stranger := at("stranger")
	key, err := os.ReadFile(config)
	must(t, err)
	stranger.config = filepath.Join(dir, "stranger.toml")
	must(t, os.WriteFile(stranger.config, bytes.ReplaceAll(key, []byte("TROWEL_CACHE_KEY"), []byte("S3_SECRET_KEY")), 0o644))
	if other, log, _ := stranger.build(registry.Address + "/e2e/two-hosts:2"); other == digest || !strings.Contains(log, " DONE ") {
		t.Errorf("a host with another key took what is in the bucket:\n%s", log)
	}
}
