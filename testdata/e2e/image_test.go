//go:build e2e

package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/trowel-build/trowel/bench/lab"
)

// imagePlatforms are those of Trowel's image.
const imagePlatforms = "linux/amd64,linux/arm64"

// imageLimit is how many bytes a platform's layers may have, compressed.
const imageLimit = 40 << 20

// testImage looks at what `make image` makes.
func (s *suite) testImage(t *testing.T, w workshop) {
	index, manifest := pullIndex(t, w.image)
	var platforms []string
	foreign := strings.TrimSuffix(w.image, ":debug") + "@" // by its digest: the engine is to keep the name for its own platform's
	for _, d := range manifest.Manifests {
		platforms = append(platforms, d.Platform.String())
		if d.Platform.Architecture == "arm64" {
			foreign += d.Digest.String()
		}
		image, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if size := layersSize(t, image); size > imageLimit {
			t.Errorf("%s: the layers have %d bytes, more than %d", d.Platform, size, imageLimit)
		}
	}
	if got := strings.Join(platforms, ","); got != imagePlatforms {
		t.Errorf("the image is for %s, want %s", got, imagePlatforms)
	}
	t.Run("again", func(t *testing.T) {
		root, err := lab.SourceRoot()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(root, "bin", "image")); err != nil {
			t.Fatal(err)
		}
		archive, err := s.lab.Image(t.Context(), imagePlatforms)
		if err != nil {
			t.Fatal(err)
		}
		out := command(t, w.binary, "inspect", "oci-archive://"+archive)
		if digest, err := index.Digest(); err != nil || !strings.Contains(out, digest.String()) {
			t.Errorf("made again, the image is another than %s: %v\n%s", digest, err, out)
		}
	})
	t.Run("arm64", func(t *testing.T) {
		remove, err := s.lab.RegisterARM64(t.Context())
		if errors.Is(err, lab.ErrNoEmulators) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := remove(); err != nil {
				t.Error(err)
			}
		}()
		// No more than that: Debian's emulator knows no openat2, by which every path is resolved.
		out, err := w.docker.Run(t.Context(), "run", "--rm", "--platform=linux/arm64", "--network=none", foreign, "version")
		if err != nil || !strings.HasPrefix(out, "trowel ") {
			t.Errorf("it printed %q: %v", out, err)
		}
	})
}

func layersSize(t *testing.T, image v1.Image) (sum int64) {
	t.Helper()
	m, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Layers {
		sum += l.Size
	}
	return sum
}
