package image

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func at(second int64) *time.Time {
	t := time.Unix(second, 0).UTC()
	return &t
}

func layer(name, mediaType string) *Layer {
	return &Layer{
		DiffID:     digest.FromString("diff of " + name),
		Descriptor: ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString(name), Size: int64(len(name))},
	}
}

var linux = ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}

// base is one of Docker's, with a layer of each compression its format has.
func base() *Base {
	return &Base{
		Name: "debian:12",
		Image: Image{
			Architecture: "amd64", OS: "linux", Author: "someone", Created: at(100),
			Config:  Config{Cmd: []string{"bash"}, Env: []string{"LANG=C"}},
			History: []History{{Created: at(90), CreatedBy: "ADD rootfs"}, {Created: at(95), CreatedBy: "CMD", EmptyLayer: true}, {Created: at(100), CreatedBy: "RUN"}},
		},
		Layers: []Layer{*layer("lower", MediaTypeDockerLayer), *layer("upper", MediaTypeDockerLayerGzip)},
	}
}

func TestAssembleDocuments(t *testing.T) {
	t.Parallel()
	got, err := Assemble(Recipe{
		Platform: linux,
		Config:   Config{User: "app", Env: []string{"PATH=/bin"}, Labels: map[string]string{"b": "<2>", "a": "1"}, Healthcheck: &Healthcheck{Test: []string{"NONE"}}, Shell: []string{"/bin/sh", "-c"}},
		Steps: []Step{
			{CreatedBy: "ENV PATH=/bin", Comment: "buildkit.dockerfile.v0"},
			{CreatedBy: "COPY . / # buildkit", Comment: "buildkit.dockerfile.v0", Created: *at(200), Layer: layer("one", ocispec.MediaTypeImageLayerZstd)},
			{CreatedBy: "USER app"},
		},
		Annotations: Annotations{{Target: OnManifest, Key: "k", Value: "v"}, {Target: OnManifestDescriptor, Key: "d", Value: "w"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantConfig := `{"architecture":"arm64","config":{"User":"app","Env":["PATH=/bin"],"Labels":{"a":"1","b":"\u003c2\u003e"},` +
		`"Healthcheck":{"Test":["NONE"]},"Shell":["/bin/sh","-c"]},"created":"1970-01-01T00:03:20Z","history":[` +
		`{"created":"1970-01-01T00:03:20Z","created_by":"ENV PATH=/bin","comment":"buildkit.dockerfile.v0","empty_layer":true},` +
		`{"created":"1970-01-01T00:03:20Z","created_by":"COPY . / # buildkit","comment":"buildkit.dockerfile.v0"},` +
		`{"created":"1970-01-01T00:03:20Z","created_by":"USER app","empty_layer":true}],"os":"linux",` +
		`"rootfs":{"type":"layers","diff_ids":["` + digest.FromString("diff of one").String() + `"]},"variant":"v8"}`
	if diff := cmp.Diff(wantConfig, string(got.Config.Bytes)); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	wantManifest := `{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "config": {
    "mediaType": "application/vnd.oci.image.config.v1+json",
    "digest": "` + digest.FromString(wantConfig).String() + `",
    "size": ` + strconv.Itoa(len(wantConfig)) + `
  },
  "layers": [
    {
      "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
      "digest": "` + digest.FromString("one").String() + `",
      "size": 3
    }
  ],
  "annotations": {
    "k": "v"
  }
}`
	if diff := cmp.Diff(wantManifest, string(got.Manifest.Bytes)); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	wantDescriptor := ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(wantManifest), Size: int64(len(wantManifest)),
		Platform: &linux, Annotations: map[string]string{"d": "w"},
	}
	if diff := cmp.Diff(wantDescriptor, got.Manifest.Descriptor); diff != "" {
		t.Errorf("descriptor (-want +got):\n%s", diff)
	}
}

// An image without layers still lists them: readers refuse a null.
func TestAssembleEmpty(t *testing.T) {
	t.Parallel()
	got, err := Assemble(Recipe{Platform: linux})
	if err != nil {
		t.Fatal(err)
	}
	if want := `"diff_ids":[]`; !strings.Contains(string(got.Config.Bytes), want) {
		t.Errorf("config %s has no %s", got.Config.Bytes, want)
	}
	if !strings.Contains(string(got.Manifest.Bytes), `"layers": []`) {
		t.Errorf("manifest %s lists no layers", got.Manifest.Bytes)
	}
}

func TestAssembleTimes(t *testing.T) {
	t.Parallel()
	const never = -1
	seconds := func(t *time.Time) int64 {
		if t == nil {
			return never
		}
		return t.Unix()
	}
	empty := func(text string) Step { return Step{CreatedBy: text} }
	made := func(text string, second int64) Step {
		return Step{CreatedBy: text, Created: *at(second), Layer: layer(text, ocispec.MediaTypeImageLayerGzip)}
	}
	tests := map[string]struct {
		base    *Base
		steps   []Step
		epoch   *time.Time
		want    []int64 // of the history
		created int64
	}{
		"next, then previous layer": {steps: []Step{empty("a"), made("b", 20), empty("c"), made("d", 40), empty("e")}, want: []int64{20, 20, 40, 40, 40}, created: 40},
		"after a base":              {base: base(), steps: []Step{empty("a"), made("b", 200)}, want: []int64{90, 95, 100, 200, 200}, created: 200},
		"only settings on a base":   {base: base(), steps: []Step{empty("a")}, want: []int64{90, 95, 100, 100}, created: 100},
		"nothing on a base":         {base: base(), want: []int64{90, 95, 100}, created: 100},
		"only settings":             {steps: []Step{empty("a")}, want: []int64{never}, created: never},
		"epoch":                     {base: base(), steps: []Step{empty("a"), made("b", 200)}, epoch: at(50), want: []int64{90, 95, 100, 50, 50}, created: 50},
		"epoch later than now":      {steps: []Step{made("a", 200)}, epoch: at(1 << 33), want: []int64{1 << 33}, created: 1 << 33},
		"epoch zero":                {steps: []Step{made("a", 200)}, epoch: at(0), want: []int64{0}, created: 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Assemble(Recipe{Base: test.base, Platform: linux, Steps: test.steps, Epoch: test.epoch})
			if err != nil {
				t.Fatal(err)
			}
			var times []int64
			for _, h := range got.Image.History {
				times = append(times, seconds(h.Created))
			}
			if diff := cmp.Diff(test.want, times); diff != "" {
				t.Errorf("history (-want +got):\n%s", diff)
			}
			if created := seconds(got.Image.Created); created != test.created {
				t.Errorf("created at %d, want %d", created, test.created)
			}
		})
	}
}

// The history has as many non-empty entries as there are layers, whatever the base's says.
func TestAssembleHistoryCountsLayers(t *testing.T) {
	t.Parallel()
	tests := map[string][]History{
		"right":    base().Image.History,
		"none":     nil,
		"too few":  {{CreatedBy: "a"}},
		"too many": {{CreatedBy: "a"}, {CreatedBy: "b"}, {CreatedBy: "c"}, {CreatedBy: "d"}},
		"empty":    {{CreatedBy: "a", EmptyLayer: true}},
	}
	for name, history := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := base()
			b.Image.History = history
			got, err := Assemble(Recipe{Base: b, Steps: []Step{{CreatedBy: "ENV"}, {CreatedBy: "RUN", Created: *at(1), Layer: layer("x", ocispec.MediaTypeImageLayer)}}})
			if err != nil {
				t.Fatal(err)
			}
			count := 0
			for _, h := range got.Image.History {
				if !h.EmptyLayer {
					count++
				}
			}
			if count != 3 || len(got.Image.RootFS.DiffIDs) != 3 || len(got.Layers) != 3 {
				t.Errorf("%d history entries, %d diff IDs, %d layers, want 3 of each", count, len(got.Image.RootFS.DiffIDs), len(got.Layers))
			}
			if last := got.Image.History[len(got.Image.History)-1]; last.CreatedBy != "RUN" || last.EmptyLayer {
				t.Errorf("the last entry is %v", last)
			}
			if diff := cmp.Diff(base().Layers, b.Layers); diff != "" {
				t.Errorf("the base was changed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAssembleRelabels(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		format Format
		own    string // the media type of a layer on top
		want   []string
		fails  string
	}{
		"to OCI":         {format: OCI, own: ocispec.MediaTypeImageLayerZstd, want: []string{ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd}},
		"by default":     {own: MediaTypeDockerLayerGzip, want: []string{ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerGzip}},
		"to Docker":      {format: Docker, own: ocispec.MediaTypeImageLayerGzip, want: []string{MediaTypeDockerLayer, MediaTypeDockerLayerGzip, MediaTypeDockerLayerGzip}},
		"zstd to Docker": {format: Docker, own: ocispec.MediaTypeImageLayerZstd, fails: "use the OCI format"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := base()
			b.Layers[0].Descriptor.Annotations = map[string]string{
				"containerd.io/uncompressed": "x", "containerd.io/distribution.source.docker.io": "library/debian",
				"buildkit/createdat": "x", "containerd.io/snapshot/stargz/toc.digest": "kept",
			}
			b.Layers[0].Descriptor.URLs = []string{"https://example.com/layer"}
			got, err := Assemble(Recipe{Base: b, Format: test.format, Steps: []Step{{CreatedBy: "RUN", Created: *at(1), Layer: layer("x", test.own)}}})
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("error %v, want %q", err, test.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var types []string
			for i, l := range got.Layers {
				types = append(types, l.Descriptor.MediaType)
				if i < 2 && l.Descriptor.Digest != b.Layers[i].Descriptor.Digest {
					t.Errorf("layer %d has another digest", i)
				}
			}
			if diff := cmp.Diff(test.want, types); diff != "" {
				t.Errorf("media types (-want +got):\n%s", diff)
			}
			want := map[string]string{"containerd.io/snapshot/stargz/toc.digest": "kept"}
			if test.format == Docker {
				want = nil
			}
			if diff := cmp.Diff(ocispec.Descriptor{MediaType: test.want[0], Digest: b.Layers[0].Descriptor.Digest, Size: 5, Annotations: want}, got.Layers[0].Descriptor); diff != "" {
				t.Errorf("descriptor (-want +got):\n%s", diff)
			}
			var manifest ocispec.Manifest
			if err := json.Unmarshal(got.Manifest.Bytes, &manifest); err != nil {
				t.Fatal(err)
			}
			if manifest.MediaType != got.Manifest.Descriptor.MediaType || manifest.Config.MediaType != got.Config.Descriptor.MediaType {
				t.Errorf("manifest says %q and %q", manifest.MediaType, manifest.Config.MediaType)
			}
			if docker := strings.Contains(manifest.MediaType, "docker"); docker != (test.format == Docker) {
				t.Errorf("manifest has media type %q", manifest.MediaType)
			}
		})
	}
}

func TestAssemblePlatform(t *testing.T) {
	t.Parallel()
	b := base()
	b.Image.Variant, b.Image.OSVersion = "v2", "12"
	tests := map[string]struct {
		base *Base
		with ocispec.Platform
		want ocispec.Platform
	}{
		"scratch":          {with: linux, want: linux},
		"the base's":       {base: b, want: ocispec.Platform{OS: "linux", Architecture: "amd64", Variant: "v2", OSVersion: "12"}},
		"the same":         {base: b, with: ocispec.Platform{OS: "linux", Architecture: "amd64"}, want: ocispec.Platform{OS: "linux", Architecture: "amd64", Variant: "v2", OSVersion: "12"}},
		"another":          {base: b, with: ocispec.Platform{OS: "linux", Architecture: "riscv64"}, want: ocispec.Platform{OS: "linux", Architecture: "riscv64"}},
		"only the variant": {base: b, with: ocispec.Platform{Variant: "v3"}, want: ocispec.Platform{OS: "linux", Architecture: "amd64", Variant: "v3", OSVersion: "12"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Assemble(Recipe{Base: test.base, Platform: test.with})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got.Image.Platform()); diff != "" {
				t.Errorf("platform (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := Assemble(Recipe{}); err == nil || !strings.Contains(err.Error(), "give a platform") {
		t.Errorf("without a platform: %v", err)
	}
}

// A config as BuildKit writes it survives reading and writing byte for byte.
func TestConfigRoundTrip(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("testdata/buildkit-config.json")
	if err != nil {
		t.Fatal(err)
	}
	want = []byte(strings.TrimSpace(string(want)))
	img, err := parseConfig(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(img)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestConfigClone(t *testing.T) {
	t.Parallel()
	full := func() Config {
		return Config{
			ExposedPorts: map[string]struct{}{"80/tcp": {}}, Env: []string{"A=1"}, Entrypoint: []string{"e"}, Cmd: []string{"c"},
			Volumes: map[string]struct{}{"/v": {}}, Labels: map[string]string{"l": "1"}, OnBuild: []string{"RUN x"}, Shell: []string{"sh"},
			Healthcheck: &Healthcheck{Test: []string{"CMD", "x"}},
		}
	}
	original := full()
	c := original.Clone()
	c.ExposedPorts["81/tcp"], c.Volumes["/w"] = struct{}{}, struct{}{}
	c.Labels["l"] = "2"
	for _, s := range [][]string{c.Env, c.Entrypoint, c.Cmd, c.OnBuild, c.Shell, c.Healthcheck.Test} {
		s[0] = "changed"
	}
	c.Healthcheck.Retries = 3
	if diff := cmp.Diff(full(), original); diff != "" {
		t.Errorf("changing the clone changed the original (-want +got):\n%s", diff)
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	withPath := base()
	withPath.Image.Config.Env = []string{"PATH=/only", "A=1"}
	tests := map[string]struct {
		base *Base
		want Config
	}{
		"scratch":      {want: Config{WorkingDir: "/", Env: []string{"PATH=" + DefaultPath}}},
		"without PATH": {base: base(), want: Config{Cmd: []string{"bash"}, Env: []string{"LANG=C", "PATH=" + DefaultPath}}},
		"with PATH":    {base: withPath, want: Config{Cmd: []string{"bash"}, Env: []string{"PATH=/only", "A=1"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, Start(test.base)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
