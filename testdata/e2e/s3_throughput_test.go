//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/sdk"
)

// TestS3Throughput uploads and downloads a blob with the plugin and with MinIO's own client, in turns, and tells how fast they
// were. Only a fraction of the client's speed is an error: what else the machine does is not the plugin's fault.
func TestS3Throughput(t *testing.T) {
	const size, rounds = 512 << 20, 4
	m := startMinIO(t)
	mc := labProgram(t, mcModule)
	bucket := m.newBucket(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "blob")
	blob := func() sdk.Blob {
		content := bytesOf(400, size) // not kept
		must(t, os.WriteFile(file, content, 0o644))
		return digestOf(content)
	}()

	run := func(ctx context.Context, arguments ...string) error {
		cmd := exec.CommandContext(ctx, mc, append([]string{"--config-dir", dir, "--quiet"}, arguments...)...)
		cmd.Env = append(os.Environ(), fmt.Sprintf("MC_HOST_lab=http://%s:%s@%s", minioKey, minioSecret, m.address))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("mc %s: %w: %s", arguments[0], err, out)
		}
		return nil
	}
	best := map[string]time.Duration{}
	measure := func(what string, move func(ctx context.Context) error) {
		start := time.Now()
		must(t, move(t.Context()))
		took := time.Since(start)
		if before, ok := best[what]; !ok || took < before {
			best[what] = took
		}
	}
	module := s3Module(t)
	for round := range rounds {
		measure("mc put", func(ctx context.Context) error { return run(ctx, "cp", file, "lab/"+bucket+"/mc") })
		// Each round has a prefix of its own: what is there is not sent again.
		c := s3Cache(t, module, services(t, m.grants()), m.config(bucket, "prefix", fmt.Sprintf("round-%d", round)))
		if _, err := c.StatBlobs(t.Context(), []sdk.Digest{blob.Digest}); err != nil { // starts the plugin
			t.Fatal(err)
		}
		measure("put file", func(ctx context.Context) error { return c.PutBlob(ctx, blob, sdk.Content{File: file}) })
		measure("mc get", func(ctx context.Context) error {
			return run(ctx, "cp", "lab/"+bucket+"/mc", filepath.Join(dir, "got"))
		})
		measure("get", func(ctx context.Context) error { return download(ctx, c, blob.Digest, filepath.Join(dir, "got")) })
		got, err := os.ReadFile(filepath.Join(dir, "got"))
		must(t, err)
		if digestOf(got).Digest != blob.Digest {
			t.Error("what was read is not what was written")
		}
		must(t, run(t.Context(), "rm", "--recursive", "--force", "lab/"+bucket+"/"))
	}
	for what, took := range best {
		t.Logf("%-8s %4.0f MB/s", what, size/1e6/took.Seconds())
	}
	ratio := best["mc put"].Seconds() / best["put file"].Seconds()
	t.Logf("an upload has %.0f %% of the speed of mc cp", 100*ratio)
	if ratio < 0.5 {
		t.Error("an upload is far slower than mc cp")
	}
}

func download(ctx context.Context, c *transfer.Cache, digest sdk.Digest, file string) error {
	content, err := c.GetBlob(ctx, digest)
	if err != nil {
		return err
	}
	r, err := content.Open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(f, r)
	return err
}
