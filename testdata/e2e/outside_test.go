//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOutsidePlugins is a user's way from nothing to a build with three plugins of theirs, none of them in this repository: an
// instruction and a cache as WebAssembly modules, and a credential provider as a process.
func TestOutsidePlugins(t *testing.T) {
	y := openYard(t)
	plugins := outsidePlugins{
		release: outsideModule(t, y.trowel, "instruction", "release", releaseEdits),
		shelf:   outsideModule(t, y.trowel, "cache", "shelf", shelfEdits),
		vault:   outsideModule(t, y.trowel, "credential", "vault", vaultEdits, "--target", "native"),
	}
	files := &shelves{files: map[string][]byte{}}
	s := newStore(t, files, storeWell, 0)
	config := plugins.config(outsideSettings{registry: y.registry, store: s.server.URL, vault: y.authority.URL})

	without := y.newPlot(t, "without", strings.Split(config, "[plugins.vault]")[0])
	if o := start(t, without.build(t))(); o.err == nil || y.pushed(t, "without") != "" {
		t.Errorf("without the credential plugin the registry lets everybody in:\n%s", o.output)
	}

	first := start(t, y.newPlot(t, "first", config).build(t))()
	if first.err != nil {
		t.Fatalf("the first build: %v\n%s", first.err, first.output)
	}
	for _, text := range ran {
		if !strings.Contains(first.output, text) {
			t.Errorf("the first build did not run what prints %q", text)
		}
	}
	image := y.whole(t, "first", first.digest)
	if y.pushed(t, "first") != first.digest {
		t.Errorf("the tag is %q, and trowel printed %q", y.pushed(t, "first"), first.digest)
	}
	t.Logf("first build: %s, %d records and %d blobs in the store", first.took, files.count("/records/"), files.count("/blobs/"))

	asked := s.asked.Load()
	again := y.newPlot(t, "second", config)
	cmd := again.build(t)
	far := filepath.Join(again.dir, "tmp", strings.Repeat("far", 30)) // too far for the path of a socket
	if err := os.Mkdir(far, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, "TMPDIR="+far)
	second := start(t, cmd)()
	if second.err != nil {
		t.Fatalf("the second build: %v\n%s", second.err, second.output)
	}
	t.Logf("second build: %s, %d requests to the store", second.took, s.asked.Load()-asked)
	if second.digest != first.digest || y.pushed(t, "second") != first.digest {
		t.Errorf("the second image is %s, and the first %s", second.digest, first.digest)
	}
	fromCache(t, second.output)
	y.whole(t, "second", second.digest)

	config2, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := config2.Config.Labels["org.opencontainers.image.version"]; got != "1.2.3" {
		t.Errorf("the label is %q", got)
	}
	y.runImage(t, "second", first.digest)
	for _, o := range []outcome{first, second} {
		if strings.Contains(o.output, "warning:") {
			t.Errorf("a build that goes well has a warning:\n%s", o.output)
		}
		for _, secret := range append(y.authority.secrets(), teamKey) {
			if strings.Contains(o.output, secret) {
				t.Errorf("the output has the secret %q", secret)
			}
		}
	}
}

// fromCache demands that a build, by its output, ran nothing and took every step from the cache.
func fromCache(t *testing.T, output string) {
	t.Helper()
	for _, text := range ran {
		if strings.Contains(output, text) {
			t.Errorf("it ran what prints %q", text)
		}
	}
	steps := regexp.MustCompile(`(?m)^(#\d+) \[.*`).FindAllStringSubmatch(output, -1)
	if len(steps) < 4 { // of the last stage: if they are all there nobody asks for the others
		t.Errorf("%d steps are shown, want at least 4", len(steps))
	}
	for _, step := range steps {
		if !strings.Contains(output, "\n"+step[1]+" CACHED\n") || strings.Contains(output, "\n"+step[1]+" DONE") {
			t.Errorf("%s is not CACHED", step[0])
		}
	}
	if strings.Contains(output, "warning:") {
		t.Error("there are warnings")
	}
	if t.Failed() {
		t.Log(output)
	}
}

// runImage pulls an image with skopeo and runs it with runc: neither knows anything of Trowel.
func (y *yard) runImage(t *testing.T, plot, digest string) {
	t.Helper()
	installTools(t, map[string]string{"skopeo": "skopeo", "umoci": "umoci", "runc": "runc"})
	dir := t.TempDir()
	env := append(os.Environ(), "HOME="+dir)
	authorRun(t, env, dir, "skopeo", "copy", "--src-tls-verify=false", "--src-creds=ci:"+y.authority.password(),
		"docker://"+y.registry+"/team/"+plot+"@"+digest, "oci:"+dir+"/image:app")
	authorRun(t, env, dir, "umoci", "unpack", "--image", dir+"/image:app", dir+"/bundle")
	file := filepath.Join(dir, "bundle", "config.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	config["process"].(map[string]any)["terminal"] = false
	if text, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	id := "trowel-outside-" + filepath.Base(dir) + digest[len(digest)-8:]
	t.Cleanup(func() { _ = exec.Command("runc", "--root", dir+"/state", "delete", "--force", id).Run() })
	out := authorRun(t, env, dir, "runc", "--root", dir+"/state", "run", "--bundle", dir+"/bundle", id)
	if want := "version 1.2.3\n"; !strings.HasPrefix(out, want) || !strings.Contains(out, "/app/twice") {
		t.Errorf("the image prints %q, want %q and a sum", out, want)
	}
}
