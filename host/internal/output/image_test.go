package output

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/image"
)

// testLayer is a layer with one file.
func testLayer(t *testing.T, name, content, mediaType string) (image.Layer, Blob) {
	t.Helper()
	var plain bytes.Buffer
	tw := tar.NewWriter(&plain)
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(tw, content); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	if _, err := zw.Write(plain.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(packed.Bytes()), Size: int64(packed.Len())}
	return image.Layer{DiffID: digest.FromBytes(plain.Bytes()), Descriptor: d}, Blob{Descriptor: d, Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(packed.Bytes())), nil
	}}
}

// testImage is an image of two layers, the second of which it has twice.
func testImage(t *testing.T, format image.Format, text string, names ...string) Image {
	t.Helper()
	var blobs []Blob
	var steps []image.Step
	for _, name := range []string{"a", "b", "b"} {
		l, b := testLayer(t, name, text+name, ocispec.MediaTypeImageLayerGzip)
		blobs = append(blobs, b)
		steps = append(steps, image.Step{CreatedBy: "COPY " + name, Created: time.Unix(1e9, 0), Layer: &l})
	}
	m, err := image.Assemble(image.Recipe{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, Format: format, Steps: steps,
		Config: image.Config{Cmd: []string{"/a"}, Env: []string{"A=1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range blobs {
		blobs[i].Descriptor = m.Layers[i].Descriptor
	}
	return Image{Config: m.Config, Manifest: m.Manifest, Layers: blobs, Names: names, Created: time.Unix(1e9, 0)}
}

// spoilers are ways in which a blob's bytes are not what its descriptor says.
var spoilers = map[string]func(*Blob){
	"cannot be opened": func(b *Blob) {
		b.Open = func(context.Context) (io.ReadCloser, error) { return nil, errors.New("gone") }
	},
	"short": func(b *Blob) {
		open := b.Open
		b.Open = func(ctx context.Context) (io.ReadCloser, error) {
			r, err := open(ctx)
			return io.NopCloser(io.LimitReader(r, 20)), err
		}
	},
	"long": func(b *Blob) {
		open := b.Open
		b.Open = func(ctx context.Context) (io.ReadCloser, error) {
			r, err := open(ctx)
			return io.NopCloser(io.MultiReader(r, strings.NewReader("x"))), err
		}
	},
	"others": func(b *Blob) {
		size := b.Descriptor.Size
		b.Open = func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(make([]byte, size))), nil
		}
	},
}

func TestDockerArchive(t *testing.T) {
	t.Parallel()
	for _, format := range []image.Format{image.OCI, image.Docker} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "out/image.tar")
			m := testImage(t, format, "x", "app:1", "registry.example.com:5000/team/app")
			s := Spec{Type: TypeDocker, Dest: file}
			if err := Write(t.Context(), s, Request{Image: &m}); err != nil {
				t.Fatal(err)
			}
			got, err := tarball.ImageFromPath(file, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Image(got); err != nil {
				t.Errorf("archive is not valid: %v", err)
			}
			if name, err := got.ConfigName(); err != nil || name.String() != m.Config.Descriptor.Digest.String() {
				t.Errorf("config %s, error %v", name, err)
			}
			layers, err := got.Layers()
			if err != nil || len(layers) != 3 {
				t.Fatalf("%d layers, error %v", len(layers), err)
			}
			for i, l := range layers {
				if d, err := l.Digest(); err != nil || d.String() != m.Layers[i].Descriptor.Digest.String() {
					t.Errorf("layer %d is %s, error %v", i, d, err)
				}
			}
			manifest, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(file) })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"app:1", "registry.example.com:5000/team/app:latest"}, manifest[0].RepoTags); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
			// It is an OCI layout as well.
			dir := t.TempDir()
			untar(t, file, dir)
			wantInIndex(t, dir, "docker.io/library/app:1|1|"+m.Manifest.Descriptor.Digest.String(),
				"registry.example.com:5000/team/app:latest|latest|"+m.Manifest.Descriptor.Digest.String())
		})
	}
}

func TestOCIArchive(t *testing.T) {
	t.Parallel()
	m := testImage(t, image.OCI, "x", "app:1")
	var first, second bytes.Buffer
	if err := Write(t.Context(), Spec{Type: TypeOCI, Dest: "-"}, Request{Image: &m, Stdout: &first}); err != nil {
		t.Fatal(err)
	}
	again := testImage(t, image.OCI, "x", "app:1")
	if err := WriteOCIArchive(t.Context(), &second, again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same image gives different archives")
	}
	file, dir := filepath.Join(t.TempDir(), "a.tar"), t.TempDir()
	if err := os.WriteFile(file, first.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	names := untar(t, file, dir)
	wantInIndex(t, dir, "docker.io/library/app:1|1|"+m.Manifest.Descriptor.Digest.String())
	if slices.Contains(names, "manifest.json") || len(names) != 2+2+4 {
		t.Errorf("the archive holds %q", names)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	h, err := v1.NewHash(m.Manifest.Descriptor.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	got, err := index.Image(h)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(got); err != nil {
		t.Errorf("image is not valid: %v", err)
	}
}

// A file is replaced when the new one is whole, and left alone otherwise.
func TestFileIsReplacedWhole(t *testing.T) {
	t.Parallel()
	for name, spoil := range spoilers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file, link := filepath.Join(dir, "image.tar"), filepath.Join(dir, "link.tar")
			if err := errors.Join(os.WriteFile(file, []byte("before"), 0o644), os.Symlink("image.tar", link)); err != nil {
				t.Fatal(err)
			}
			m := testImage(t, image.OCI, "x", "app:1")
			spoil(&m.Layers[2])
			spoil(&m.Layers[1])
			if err := Write(t.Context(), Spec{Type: TypeOCI, Dest: link}, Request{Image: &m}); err == nil {
				t.Fatal("no error")
			}
			if got, err := os.ReadFile(file); err != nil || string(got) != "before" {
				t.Errorf("the file holds %d bytes, error %v", len(got), err)
			}
			m = testImage(t, image.OCI, "x", "app:1")
			if err := Write(t.Context(), Spec{Type: TypeOCI, Dest: link}, Request{Image: &m}); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(file); err != nil || len(got) < 1000 {
				t.Errorf("the file behind the link holds %d bytes, error %v", len(got), err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
				t.Errorf("files are left: %v, %v", entries, err)
			}
		})
	}
	if err := Write(t.Context(), Spec{Type: TypeOCI, Dest: t.TempDir()}, Request{Image: &Image{}}); err == nil || !strings.Contains(err.Error(), "name a file") {
		t.Errorf("a directory as file: %v", err)
	}
	m := testImage(t, image.OCI, "x")
	if err := Write(t.Context(), Spec{Type: TypeOCI, Dest: os.DevNull}, Request{Image: &m}); err != nil {
		t.Errorf("a device: %v", err)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Errorf("%s was replaced: %v", os.DevNull, err)
	}
}

func TestImageNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"App": "lowercase", "app@" + digest.FromString("x").String(): "name it with a tag", "": "invalid reference",
	} {
		m := testImage(t, image.OCI, "x", name)
		if err := WriteDockerArchive(t.Context(), io.Discard, m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("name %q: error %v does not say %q", name, err, want)
		}
	}
}

func untar(t *testing.T, file, dir string) []string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		path := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			var content []byte
			if content, err = io.ReadAll(tr); err == nil {
				err = os.WriteFile(path, content, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
