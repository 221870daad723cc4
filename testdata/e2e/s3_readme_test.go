//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/trowel-build/trowel/bench/lab"
	"github.com/trowel-build/trowel/host/plugin"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
)

// readmeSpecs are the configurations in the plugin's README.
func readmeSpecs(t *testing.T, replace *strings.Replacer) []plugin.Spec {
	t.Helper()
	root, err := lab.SourceRoot()
	must(t, err)
	text, err := os.ReadFile(filepath.Join(root, "plugins", "s3", "README.md"))
	must(t, err)
	var specs []plugin.Spec
	for _, block := range strings.Split(string(text), "```toml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		var file struct {
			Plugins map[string]plugin.Spec `toml:"plugins"`
		}
		meta, err := toml.Decode(replace.Replace(block), &file)
		must(t, err)
		for _, key := range meta.Undecoded() {
			if key.String() != "" && !strings.HasPrefix(key.String(), "plugins.s3.config.") {
				t.Errorf("the README has the unknown key %q", key)
			}
		}
		specs = append(specs, file.Plugins["s3"])
	}
	return specs
}

// TestS3Readme uses what the README says, with another address.
func TestS3Readme(t *testing.T) {
	m := startMinIO(t)
	bucket := m.newBucket(t)
	specs := readmeSpecs(t, strings.NewReplacer(
		`"minio.example.com:9000"`, `"http://`+m.address+`", "127.0.0.1"`, "https://minio.example.com:9000", "http://"+m.address,
		"us-east-1", minioRegion, `"trowel"`, `"`+minioKey+`"`, `"ci-cache"`, `"`+bucket+`"`, `"ci-cache.s3.`, `"`+bucket+`.s3.`,
	))
	if len(specs) != 2 {
		t.Fatalf("the README has %d configurations", len(specs))
	}
	variables := map[string]string{
		"S3_SECRET_KEY": minioSecret, "AWS_ACCESS_KEY_ID": "ID", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token",
	}
	environment := func(o *service.Options) { o.Getenv = func(name string) string { return variables[name] } }
	c := s3Cache(t, native, services(t, specs[0].Allow, environment), specs[0].Config)
	content := bytesOf(500, 1000)
	mustPut(t, c, content)
	mustGet(t, c, content)
	must(t, c.PutRecords(t.Context(), []sdk.Record{{Key: "k", Value: []byte("v")}}))

	// The other one is for AWS: what it would do there is as it should be, and granted.
	aws := native(t, services(t, specs[1].Allow, environment), specs[1].Config)
	plan, err := aws.Planner.PlanPut(t.Context(), digestOf(content))
	must(t, err)
	if want := "https://" + bucket + ".s3.eu-central-1.amazonaws.com/blobs/sha256/"; !strings.HasPrefix(plan.Parts[0].URL, want) {
		t.Errorf("a blob is put to %q", plan.Parts[0].URL)
	}
	if u := plan.Parts[0].URL; !strings.Contains(u, "X-Amz-Signature=") || !strings.Contains(u, "X-Amz-Security-Token=") || strings.Contains(u, "Token=token") {
		t.Errorf("the plugin sees the URL %q", u)
	}
}
