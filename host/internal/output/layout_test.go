package output

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/trowel-build/trowel/host/internal/image"
)

// wantInIndex checks what a layout's index says, as "reference tag digest".
func wantInIndex(t *testing.T, dir string, want ...string) {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Errorf("layout is not valid: %v", err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range manifest.Manifests {
		got = append(got, fmt.Sprintf("%s|%s|%s", m.Annotations["io.containerd.image.name"], m.Annotations["org.opencontainers.image.ref.name"], m.Digest))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("index (-want +got):\n%s", diff)
	}
}

func TestOCIDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "deep/layout")
	write := func(m Image) string {
		t.Helper()
		if err := WriteOCIDirectory(t.Context(), dir, m); err != nil {
			t.Fatal(err)
		}
		return m.Manifest.Descriptor.Digest.String()
	}
	one := write(testImage(t, image.OCI, "one", "app:1", "registry.example.com:5000/team/app"))
	wantInIndex(t, dir, "docker.io/library/app:1|1|"+one, "registry.example.com:5000/team/app:latest|latest|"+one)
	// Another name is added, the same one replaced.
	two := write(testImage(t, image.OCI, "two", "app:2"))
	three := write(testImage(t, image.OCI, "three", "docker.io/library/app:1"))
	wantInIndex(t, dir, "registry.example.com:5000/team/app:latest|latest|"+one, "docker.io/library/app:2|2|"+two, "docker.io/library/app:1|1|"+three)
	// Without a name.
	four := write(testImage(t, image.OCI, "four"))
	five := write(testImage(t, image.OCI, "five"))
	_ = four
	wantInIndex(t, dir, "registry.example.com:5000/team/app:latest|latest|"+one, "docker.io/library/app:2|2|"+two, "docker.io/library/app:1|1|"+three, "|latest|"+five)
	names, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	if diff := cmp.Diff([]string{"blobs", "index.json", "oci-layout"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestOCIDirectoryConcurrently(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := testImage(t, image.OCI, "same", "app:0")
	if err := WriteOCIDirectory(t.Context(), dir, m); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	const builds, each = 8, 10
	for build := range builds {
		wg.Go(func() {
			for i := range each {
				m := m
				m.Names = []string{fmt.Sprintf("app%d:%d", build, i)}
				if err := WriteOCIDirectory(t.Context(), dir, m); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1+builds*each {
		t.Errorf("the index names %d images, want %d: one build undid another's", len(manifest.Manifests), 1+builds*each)
	}
}

// A layer that cannot be read leaves the layout as it was.
func TestOCIDirectoryFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one := testImage(t, image.OCI, "one", "app:1")
	if err := WriteOCIDirectory(t.Context(), dir, one); err != nil {
		t.Fatal(err)
	}
	want := "docker.io/library/app:1|1|" + one.Manifest.Descriptor.Digest.String()
	for name, spoil := range spoilers {
		two := testImage(t, image.OCI, "two", "app:1")
		spoil(&two.Layers[1])
		if err := WriteOCIDirectory(t.Context(), dir, two); err == nil || !strings.Contains(err.Error(), two.Layers[1].Descriptor.Digest.String()) {
			t.Errorf("%s: error %v does not name the blob", name, err)
		}
		wantInIndex(t, dir, want)
		if _, err := os.Stat(filepath.Join(dir, blobPath(two.Layers[1].Descriptor))); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the blob is there: %v", name, err)
		}
	}
	blobs, err := os.ReadDir(filepath.Join(dir, "blobs/sha256"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		if len(b.Name()) != 64 {
			t.Errorf("a temporary file is left: %s", b.Name())
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"2.0.0"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteOCIDirectory(t.Context(), dir, one); err == nil || !strings.Contains(err.Error(), "name another directory") {
		t.Errorf("a layout of another version: %v", err)
	}
}

// Readers of layouts look for OCI's media types alone.
func TestOCIRefusesDockerFormat(t *testing.T) {
	t.Parallel()
	m := testImage(t, image.Docker, "x", "app:1")
	dir := filepath.Join(t.TempDir(), "layout")
	for _, s := range []Spec{{Type: TypeOCI, Dest: dir, Form: FormDirectory}, {Type: TypeOCI, Dest: dir}} {
		if err := Write(t.Context(), s, Request{Image: &m}); err == nil || !strings.Contains(err.Error(), "the OCI format") {
			t.Errorf("form %q: error %v", s.Form, err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
}
