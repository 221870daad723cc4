package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/host/plugin/manifest"
)

// put pushes any layers under a tag.
func put(t *testing.T, s *server, tag, configType string, layers ...[2]string) digest.Digest {
	t.Helper()
	c, to := client(t, Options{}), registry.Repository{Registry: s.host(), Path: "plugins/demo"}
	config, err := pushBlob(t.Context(), c.registry, to, []byte("{}"), configType)
	if err != nil {
		t.Fatal(err)
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{}}
	for _, l := range layers {
		d, err := pushBlob(t.Context(), c.registry, to, []byte(l[1]), l[0])
		if err != nil {
			t.Fatal(err)
		}
		m.Layers = append(m.Layers, d)
	}
	return putDocument(t, s, tag, m.MediaType, m)
}

// putDocument pushes any manifest under a tag.
func putDocument(t *testing.T, s *server, tag, mediaType string, v any) digest.Digest {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	ref := registry.Repository{Registry: s.host(), Path: "plugins/demo"}.Tagged(tag)
	if err := client(t, Options{}).registry.PutManifest(t.Context(), ref, mediaType, raw); err != nil {
		t.Fatal(err)
	}
	return digest.FromBytes(raw)
}

func gzipped(content []byte) string {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	w.Write(content)
	w.Close()
	return b.String()
}

// archive is a tar of files, a name and a content in turn.
func archive(files ...string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w.WriteHeader(&tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o644, Typeflag: tar.TypeReg})
		io.WriteString(w, files[i+1])
	}
	w.Close()
	return b.Bytes()
}

// sparse is an archive with files of a mebibyte of which not a byte is there (PAX, GNU sparse format 1.0).
func sparse(files int) []byte {
	block := func(kind byte, size int) []byte {
		b := make([]byte, 512)
		copy(b, "file")
		copy(b[100:], "0000644\x000000000\x000000000\x00")
		copy(b[124:], fmt.Sprintf("%011o\x0000000000000\x00        %c", size, kind))
		copy(b[257:], "ustar\x0000")
		sum := 0
		for _, c := range b {
			sum += int(c)
		}
		copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
		return b
	}
	pad := func(text string) []byte { return append([]byte(text), make([]byte, 512-len(text)%512)...) }
	var b []byte
	for range files {
		records := ""
		for _, r := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=f", "GNU.sparse.realsize=1048576"} {
			records += fmt.Sprintf("%d %s\n", len(r)+4, r)
		}
		b = append(append(b, block('x', len(records))...), pad(records)...)
		b = append(append(b, block('0', 512)...), pad("1\n1048576\n0\n")...)
	}
	return append(b, make([]byte, 1024)...)
}

const (
	dockerLayer = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	ociLayer    = "application/vnd.oci.image.layer.v1.tar"
	imageConfig = "application/vnd.oci.image.config.v1+json"
)

// TestPullLiberally takes modules in all the forms that they have been pushed in.
func TestPullLiberally(t *testing.T) {
	t.Parallel()
	s := serve(t)
	module := string(wasm(t, "1"))
	other := string(with(t, bareModule(), about("other", manifest.Wants{})))
	for name, layers := range map[string][][2]string{
		"cncf":           {{typeWasm, module}},
		"oci":            {{"application/vnd.wasm.content.layer.v1+wasm", module}},
		"trivy":          {{"application/vnd.module.wasm.content.layer.v1+wasm", module}},
		"a type unheard": {{"application/octet-stream", module}},
		"tar":            {{ociLayer, string(archive("plugin.wasm", module))}},
		"docker":         {{dockerLayer, gzipped(archive("etc/passwd", "root", "./plugin.wasm", module))}},
		"any name":       {{dockerLayer, gzipped(archive("etc/passwd", "root", "opt/x", module))}},
		"two modules":    {{dockerLayer, gzipped(archive("a.wasm", other, "plugin.wasm", module))}},
		"gzip alone":     {{"application/wasm+gzip", gzipped([]byte(module))}},
		"wrong type":     {{typeProgram, module}},
		"beside others":  {{"application/json", "{}"}, {typeWasm, module}, {"text/plain", "hello"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tag := strings.ReplaceAll(name, " ", "-")
			want := put(t, s, tag, imageConfig, layers...)
			p, top, err := client(t, Options{}).Pull(t.Context(), s.source(":"+tag))
			if err != nil || string(p.Bytes) != module || top != want || p.Manifest.Version != "1" || p.Digest != digest.FromString(module) {
				t.Errorf("Pull = %+v, %s, %v", p.Manifest, top, err)
			}
			c := client(t, Options{})
			r := Request{Name: "demo", Source: s.source(":" + tag)}
			in, err := c.Install(t.Context(), r, lockOf(Installed{}), Keep)
			if err != nil {
				t.Fatal(err)
			}
			if p, err := c.Resolve(t.Context(), r, lockOf(in), "frozen"); err != nil || string(p.Bytes) != module {
				t.Errorf("Resolve: %v", err)
			}
		})
	}
}

func TestPullRefuses(t *testing.T) {
	t.Parallel()
	s := serve(t)
	module := string(wasm(t, "1"))
	// 129 MiB of zeros behind the head of a module: a megabyte of gzip.
	bomb := gzipped(append([]byte(module), make([]byte, maxProgram+1<<20)...))
	large := gzipped(append([]byte(module), make([]byte, manifest.MaxModule)...))
	for name, tt := range map[string]struct {
		layers [][2]string
		want   string
	}{
		"no layer":         {nil, "it has 0 layers"},
		"two modules":      {[][2]string{{typeWasm, module}, {typeWasm, string(bareModule())}}, "it has 2 layers"},
		"an image":         {[][2]string{{dockerLayer, "a"}, {dockerLayer, "b"}}, "it has 2 layers"},
		"a script":         {[][2]string{{typeWasm, "#!/bin/sh\n"}}, "it is no plugin: it is neither"},
		"an empty archive": {[][2]string{{dockerLayer, gzipped(archive("a", "b"))}}, "the archive has 0 programs"},
		"which of two":     {[][2]string{{dockerLayer, gzipped(archive("a", module, "b", module))}}, "the archive has 2 programs"},
		"sparse files":     {[][2]string{{ociLayer, string(sparse(5))}}, "are larger than the archive"},
		"cut archive":      {[][2]string{{ociLayer, string(archive("plugin.wasm", module)[:600])}}, "unpack plugin"},
		"cut gzip":         {[][2]string{{dockerLayer, gzipped([]byte(module))[:40]}}, "decompress plugin"},
		"bomb":             {[][2]string{{dockerLayer, bomb}}, "has more than 134217728 bytes"},
		"large module":     {[][2]string{{dockerLayer, large}}, "may have 33554432"},
		"bad manifest":     {[][2]string{{typeWasm, string(bareModule()) + "\x00\x11\x0ftrowel.manifest{"}}, "read plugin manifest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tag := strings.ReplaceAll(name, " ", "-")
			put(t, s, tag, imageConfig, tt.layers...)
			_, _, err := client(t, Options{}).Pull(t.Context(), s.source(":"+tag))
			wantError(t, err, tt.want, `pull plugin "`+s.source(":"+tag)+`"`)
		})
	}
}

// TestPullOversize believes no size, and reads no more than was announced.
func TestPullOversize(t *testing.T) {
	t.Parallel()
	s := serve(t)
	layer := ocispec.Descriptor{MediaType: typeWasm, Digest: digest.FromBytes(wasm(t, "1")), Size: maxProgram + 1}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: ocispec.DescriptorEmptyJSON}
	m.Layers = []ocispec.Descriptor{layer}
	putDocument(t, s, "large", m.MediaType, m)
	_, _, err := client(t, Options{}).Pull(t.Context(), s.source(":large"))
	wantError(t, err, "its layer has 134217729 bytes, and may have 134217728")

	m.Layers[0].Size = 10 // and the registry has more
	push(t, s.source(":1"), wasm(t, "1"))
	putDocument(t, s, "small", m.MediaType, m)
	_, _, err = client(t, Options{}).Pull(t.Context(), s.source(":small"))
	wantError(t, err, "and it should be 10")

	m.Layers[0].Digest = "sha256:../../x"
	putDocument(t, s, "path", m.MediaType, m)
	_, _, err = client(t, Options{}).Pull(t.Context(), s.source(":path"))
	wantError(t, err, "its layer's digest")
}

// TestPullIndex reads indexes that others made.
func TestPullIndex(t *testing.T) {
	t.Parallel()
	s := serve(t)
	entry := func(tag string, platform *ocispec.Platform) ocispec.Descriptor {
		d := put(t, s, tag, imageConfig, [2]string{typeWasm, string(wasm(t, tag))})
		body, _ := fetch(t, s, "manifests/"+tag)
		return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: int64(len(body)), Platform: platform}
	}
	module, second := entry("1", &ocispec.Platform{OS: "wasi", Architecture: "wasm"}), entry("2", &ocispec.Platform{OS: "wasip1", Architecture: "wasm"})
	attestation := entry("3", &ocispec.Platform{OS: "unknown", Architecture: "unknown"})
	silent := entry("4", nil)
	lie := entry("5", &ocispec.Platform{OS: "linux", Architecture: "amd64"})
	index := func(tag string, entries ...ocispec.Descriptor) string {
		putDocument(t, s, tag, ocispec.MediaTypeImageIndex, ocispec.Index{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: append([]ocispec.Descriptor{}, entries...),
		})
		return s.source(":" + tag)
	}
	for name, tt := range map[string]struct{ source, version, want string }{
		"first counts":   {index("first", attestation, module, second), "1", ""},
		"only one":       {index("one", silent), "4", ""},
		"none":           {index("none"), "", "no program for a platform"},
		"only unknown":   {index("unknown", attestation, silent), "", "no program for a platform"},
		"another system": {index("windows", entry("6", &ocispec.Platform{OS: "windows", Architecture: "amd64"}), silent), "", "no program for a platform"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _, err := client(t, Options{}).Pull(t.Context(), tt.source)
			if tt.want != "" {
				wantError(t, err, tt.want)
			} else if err != nil || p.Manifest.Version != tt.version {
				t.Errorf("Pull = %q, %v", p.Manifest.Version, err)
			}
		})
	}
	_, err := client(t, Options{}).Install(t.Context(), Request{Name: "demo", Source: index("lie", lie, attestation), Trust: "native"}, lockOf(Installed{}), Keep)
	if otherArch() == "arm64" { // it is looked at where it would run
		wantError(t, err, "has a program for wasm where it promises one for linux/amd64")
	}
	body, _ := fetch(t, s, "manifests/one")
	outer := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromString(body), Size: int64(len(body))}
	_, _, err = client(t, Options{}).Pull(t.Context(), index("nested", outer))
	wantError(t, err, "its index lists an index")
}

// FuzzUnwrap wants no panic, no more bytes than may be, and a program or an error.
func FuzzUnwrap(f *testing.F) {
	module := bareModule()
	for _, seed := range [][]byte{
		module, archive("plugin.wasm", string(module)), []byte(gzipped(archive("a", string(module)))), []byte(gzipped(module)),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, layer []byte) {
		p, err := open(layer)
		if err == nil && (len(p.Bytes) == 0 || p.Platform == "" || len(p.Bytes) > maxProgram) {
			t.Fatalf("%q has the program %q for %q", layer, p.Bytes, p.Platform)
		}
	})
}

// FuzzDocument wants no panic, and nothing that is two things at once.
func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"layers":[{"mediaType":"application/wasm","size":1,"digest":"sha256:00"}]}`))
	f.Add([]byte(`{"manifests":[{"platform":{"os":"linux","architecture":"amd64"}}]}`))
	f.Add([]byte(`{"layers":[],"manifests":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := parseDocument(raw)
		if err != nil {
			return
		}
		if (d.Layers == nil) == (d.Manifests == nil) {
			t.Fatal("it is both or neither")
		}
		if l, err := d.layer(); err == nil && (l.Digest.Validate() != nil || l.Size > maxProgram || l.Size < 0) {
			t.Fatalf("layer %+v", l)
		}
	})
}
