package image

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var sum = digest.FromString("x").String()

func manifestOf(mediaType, configType string, layerTypes ...string) string {
	var layers []string
	for _, t := range layerTypes {
		layers = append(layers, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1}`, t, sum))
	}
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[%s]}`,
		mediaType, configType, sum, strings.Join(layers, ","))
}

func TestParseManifest(t *testing.T) {
	t.Parallel()
	oci := manifestOf(ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, ocispec.MediaTypeImageLayerGzip)
	tests := map[string]struct {
		mediaType, document string
		fails               string // part of the error; "" for none
	}{
		"OCI":                {ocispec.MediaTypeImageManifest, oci, ""},
		"Docker":             {MediaTypeDockerManifest, manifestOf(MediaTypeDockerManifest, MediaTypeDockerConfig, MediaTypeDockerLayerGzip, MediaTypeDockerLayer), ""},
		"without media type": {ocispec.MediaTypeImageManifest, strings.Replace(oci, `"mediaType":"application/vnd.oci.image.manifest.v1+json",`, "", 1), ""},
		"no layers":          {ocispec.MediaTypeImageManifest, manifestOf(ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig), ""},
		"an index":           {ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[]}`, "is an index"},
		"schema 1":           {"application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1}`, "push the image again"},
		"no manifest":        {"text/html", "<html>", `"text/html" is no image manifest`},
		"no JSON":            {ocispec.MediaTypeImageManifest, "<html>", "invalid character"},
		"both at once":       {ocispec.MediaTypeImageManifest, strings.Replace(oci, `"schemaVersion":2`, `"schemaVersion":2,"manifests":[]`, 1), "another document at once"},
		"another type":       {MediaTypeDockerManifest, oci, "and the registry"},
		"schema version":     {ocispec.MediaTypeImageManifest, strings.Replace(oci, `"schemaVersion":2`, `"schemaVersion":1`, 1), "is not 2"},
		"an artifact":        {ocispec.MediaTypeImageManifest, manifestOf(ocispec.MediaTypeImageManifest, "application/vnd.cncf.helm.config.v1+json"), "it is an artifact"},
		"a foreign layer":    {MediaTypeDockerManifest, manifestOf(MediaTypeDockerManifest, MediaTypeDockerConfig, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), "use a Linux image"},
		"a nondistributable": {ocispec.MediaTypeImageManifest, manifestOf(ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"), "use a Linux image"},
		"an encrypted layer": {ocispec.MediaTypeImageManifest, manifestOf(ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"), "decrypt"},
		"an unknown layer":   {ocispec.MediaTypeImageManifest, manifestOf(ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, "text/plain"), "not supported"},
		"a bad digest":       {ocispec.MediaTypeImageManifest, strings.ReplaceAll(oci, sum, "sha256:../../etc/passwd"), "digest"},
		"a negative size":    {ocispec.MediaTypeImageManifest, strings.Replace(oci, `"size":1`, `"size":-1`, 1), "negative"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := ParseManifest("app:1", test.mediaType, []byte(test.document))
			if test.fails == "" {
				if err != nil || m.Config.Digest.String() != sum {
					t.Errorf("manifest %v, error %v", m, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.fails) || !strings.HasPrefix(err.Error(), `read manifest of "app:1": `) {
				t.Errorf("error %v does not say %q", err, test.fails)
			}
		})
	}
}

func TestParseBase(t *testing.T) {
	t.Parallel()
	one := Manifest{Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.Digest(sum), Size: 1}}}
	config := func(os string, diffIDs ...string) string {
		list, err := json.Marshal(append([]string{}, diffIDs...))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"architecture":"amd64","os":%q,"config":{"Cmd":["x"]},"container_config":{"Hostname":"h"},"rootfs":{"type":"layers","diff_ids":%s}}`, os, list)
	}
	tests := map[string]struct {
		manifest Manifest
		config   string
		fails    string
	}{
		"right":            {one, config("linux", sum), ""},
		"no layers":        {Manifest{}, config("linux"), ""},
		"too few diff IDs": {one, config("linux"), "0 diff IDs for 1 layers"},
		"too many":         {one, config("linux", sum, sum), "2 diff IDs for 1 layers"},
		"Windows":          {one, config("windows", sum), "for windows"},
		"a bad diff ID":    {one, config("linux", "sha256:zz"), "diff ID 1"},
		"no JSON":          {one, "{", "unexpected end"},
		"another root":     {Manifest{}, `{"os":"linux","rootfs":{"type":"btrfs"}}`, `type "btrfs" is not supported`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := ParseBase("app:1", test.manifest, []byte(test.config))
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) || !strings.HasPrefix(err.Error(), `read config of "app:1": `) {
					t.Errorf("error %v does not say %q", err, test.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Config{Cmd: []string{"x"}}, b.Image.Config); diff != "" || len(b.Layers) != len(test.manifest.Layers) {
				t.Errorf("%d layers, config (-want +got):\n%s", len(b.Layers), diff)
			}
		})
	}
}

func TestParseAnnotation(t *testing.T) {
	t.Parallel()
	amd64 := &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	tests := map[string]struct {
		want  Annotations
		fails string
	}{
		"key=value":                            {want: Annotations{{Target: OnManifest, Key: "key", Value: "value"}}},
		"key=":                                 {want: Annotations{{Target: OnManifest, Key: "key"}}},
		"key=a=b:c":                            {want: Annotations{{Target: OnManifest, Key: "key", Value: "a=b:c"}}},
		"index:key=value":                      {want: Annotations{{Target: OnIndex, Key: "key", Value: "value"}}},
		"manifest[linux/amd64]:key=value":      {want: Annotations{{Target: OnManifest, Platform: amd64, Key: "key", Value: "value"}}},
		"index,manifest-descriptor:key=value":  {want: Annotations{{Target: OnIndex, Key: "key", Value: "value"}, {Target: OnManifestDescriptor, Key: "key", Value: "value"}}},
		"index-descriptor,[linux/amd64]:k=v":   {want: Annotations{{Target: OnIndexDescriptor, Key: "k", Value: "v"}, {Target: OnManifest, Platform: amd64, Key: "k", Value: "v"}}},
		"key":                                  {fails: "write key=value"},
		"=value":                               {fails: "no key"},
		"manifset:key=value":                   {fails: `target "manifset" is none of`},
		"manifest[linux/amd64:key=value":       {fails: "target[platform]"},
		"manifest[linux/amd64/v1/x]:key=value": {fails: "platform"},
	}
	for s, test := range tests {
		t.Run(s, func(t *testing.T) {
			t.Parallel()
			got, err := ParseAnnotation(s)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("error %v does not say %q", err, test.fails)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestAnnotationsFor(t *testing.T) {
	t.Parallel()
	amd64, arm64 := ocispec.Platform{OS: "linux", Architecture: "amd64"}, ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
	a := Annotations{
		{Target: OnManifest, Platform: &amd64, Key: "k", Value: "for amd64"},
		{Target: OnManifest, Key: "k", Value: "first"},
		{Target: OnManifest, Key: "k", Value: "for all"},
		{Target: OnManifest, Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64"}, Key: "arm", Value: "1"},
		{Target: OnIndex, Key: "i", Value: "1"},
	}
	if diff := cmp.Diff(map[string]string{"k": "for amd64"}, a.For(OnManifest, &amd64)); diff != "" {
		t.Errorf("amd64 (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"k": "for all", "arm": "1"}, a.For(OnManifest, &arm64)); diff != "" {
		t.Errorf("arm64 (-want +got):\n%s", diff)
	}
	if got := a.For(OnIndexDescriptor, nil); got != nil {
		t.Errorf("index descriptor: %v", got)
	}
	if _, err := Assemble(Recipe{Platform: amd64, Annotations: a}); err == nil || !strings.Contains(err.Error(), "manifest:i") {
		t.Errorf("an annotation for an index that is not there: %v", err)
	}
	if got, err := Assemble(Recipe{Platform: amd64, Annotations: a.Manifests()}); err != nil || !strings.Contains(string(got.Manifest.Bytes), `"k": "for amd64"`) {
		t.Errorf("annotations for manifests: %v", err)
	}
	if _, err := Assemble(Recipe{Platform: amd64, Format: Docker, Annotations: a[:1]}); err == nil {
		t.Error("annotations on a Docker manifest were accepted")
	}
}

func TestAssembleIndex(t *testing.T) {
	t.Parallel()
	one := func(p ocispec.Platform) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.Digest(sum), Size: 1, Platform: &p}
	}
	amd64, arm64 := one(ocispec.Platform{OS: "linux", Architecture: "amd64"}), one(linux)
	got, err := AssembleIndex("", []ocispec.Descriptor{amd64, arm64}, Annotations{{Target: OnIndex, Key: "k", Value: "v"}, {Target: OnIndexDescriptor, Key: "d", Value: "w"}})
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(got.Bytes, &index); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]ocispec.Descriptor{amd64, arm64}, index.Manifests); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
	if index.Annotations["k"] != "v" || got.Descriptor.Annotations["d"] != "w" || index.MediaType != ocispec.MediaTypeImageIndex {
		t.Errorf("index %s, descriptor %v", got.Bytes, got.Descriptor)
	}
	bare := amd64
	bare.Platform = nil
	for name, manifests := range map[string][]ocispec.Descriptor{
		"no image": nil, "one platform twice": {arm64, one(ocispec.Platform{OS: "linux", Architecture: "arm64"})}, "no platform": {bare},
	} {
		if _, err := AssembleIndex(OCI, manifests, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := AssembleIndex(Docker, []ocispec.Descriptor{amd64}, nil); err == nil {
		t.Error("an OCI manifest in a Docker index: no error")
	}
}

// A base is untrusted: whatever it says is refused or gives an image whose parts agree.
func FuzzBase(f *testing.F) {
	config := `{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["` + sum + `"]},"history":[{"empty_layer":true},{"created":"2026-01-02T03:04:05Z"}]}`
	f.Add(manifestOf(ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, ocispec.MediaTypeImageLayerGzip), config)
	f.Add(manifestOf(ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig), `{"config":null,"rootfs":{}}`)
	f.Fuzz(func(t *testing.T, manifest, config string) {
		m, err := ParseManifest("fuzz", ocispec.MediaTypeImageManifest, []byte(manifest))
		if err != nil {
			return
		}
		b, err := ParseBase("fuzz", m, []byte(config))
		if err != nil {
			return
		}
		got, err := Assemble(Recipe{Base: b, Platform: linux, Config: Start(b), Steps: []Step{{CreatedBy: "RUN", Layer: layer("x", ocispec.MediaTypeImageLayer)}}})
		if err != nil {
			return
		}
		layers := 0
		for _, h := range got.Image.History {
			if !h.EmptyLayer {
				layers++
			}
		}
		if want := len(m.Layers) + 1; layers != want || len(got.Layers) != want || len(got.Image.RootFS.DiffIDs) != want {
			t.Errorf("%d history entries, %d layers, %d diff IDs, want %d", layers, len(got.Layers), len(got.Image.RootFS.DiffIDs), want)
		}
	})
}
