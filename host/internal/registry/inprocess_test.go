package registry

import (
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestInProcessRegistry moves an image into and out of the registry of go-containerregistry, which takes no second
// PATCH for an upload and has neither mounts nor upload states.
func TestInProcessRegistry(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	to := Repository{Registry: strings.TrimPrefix(server.URL, "http://"), Path: "team/app"}
	client := newTestClient(t, Options{})
	image, err := random.Image(5<<20, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.CheckPush(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range layers {
		r, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if outcome, err := client.Push(t.Context(), to, completeBlob(content), nil, nil); err != nil || outcome != Uploaded {
			t.Fatalf("Push = %q, %v", outcome, err)
		}
	}
	config, err := image.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Push(t.Context(), to, completeBlob(config), nil, nil); err != nil {
		t.Fatal(err)
	}
	raw, err := image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.PutManifest(t.Context(), to.Tagged("1"), string(manifest.MediaType), raw); err != nil {
		t.Fatal(err)
	}
	descriptor, got, err := client.Manifest(t.Context(), to.Tagged("1"))
	if err != nil || !bytes.Equal(got, raw) {
		t.Fatalf("Manifest = %q, %v", got, err)
	}
	resolved, err := client.Resolve(t.Context(), to.Tagged("1"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(descriptor, resolved); diff != "" {
		t.Errorf("Resolve differs from Manifest (-manifest +resolve):\n%s", diff)
	}
	for _, layer := range manifest.Layers {
		if _, err := readBlob(t, client, to, ocispec.Descriptor{Digest: digest.Digest(layer.Digest.String()), Size: layer.Size}); err != nil {
			t.Error(err)
		}
	}
}
