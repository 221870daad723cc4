package base

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestChoose holds the choice in an index to containerd's: the platform itself, or else the nearest that its processors run.
func TestChoose(t *testing.T) {
	t.Parallel()
	tests := []struct{ want, offered, chosen string }{
		{"amd64", "386 amd64", "amd64"},
		{"amd64", "386", "386"},
		{"amd64", "amd64/v2", ""},
		{"amd64", "amd64/v1", "amd64/v1"},
		{"amd64/v1", "amd64", "amd64"},
		{"amd64/v2", "amd64 amd64/v2 amd64/v3", "amd64/v2"},
		{"amd64/v2", "amd64/v3", ""},
		{"amd64/v4", "amd64 amd64/v2 amd64/v3", "amd64/v3"},
		{"amd64/v4", "amd64 386", "amd64"},
		{"386", "amd64", ""},
		{"386", "amd64 386", "386"},
		{"arm", "arm/v5 arm/v6 arm/v7", "arm/v7"},
		{"arm/v5", "arm/v6 arm/v5", "arm/v5"},
		{"arm/v5", "arm/v6 arm/v7", ""},
		{"arm/v6", "arm/v5 arm/v7", "arm/v5"},
		{"arm/v6", "arm/v5 arm/v6 arm/v7", "arm/v6"},
		{"arm/v7", "arm/v5 arm/v6", "arm/v6"},
		{"arm/v7", "arm", "arm"},
		{"arm/v7", "arm64", ""},
		{"arm/v8", "arm/v6 arm/v7", "arm/v7"},
		{"arm/v8", "arm64 arm/v8", "arm/v8"},
		{"arm64", "arm/v7 arm64", "arm64"},
		{"arm64", "arm/v6 arm/v7", "arm/v7"},
		{"arm64", "arm64/v8", "arm64/v8"},
		{"arm64/v8", "arm64", "arm64"},
		{"arm64/v8", "arm64/v9", ""},
		{"arm64/v8.2", "arm64/v8.1 arm64/v8.3 arm64", "arm64/v8.1"},
		{"arm64/v9", "arm64/v8.5 arm64", "arm64/v8.5"},
		{"arm64", "amd64", ""},
		{"riscv64", "amd64 arm64", ""},
	}
	for _, test := range tests {
		t.Run(test.want+" of "+test.offered, func(t *testing.T) {
			t.Parallel()
			var index ocispec.Index
			for _, text := range strings.Fields(test.offered) {
				index.Manifests = append(index.Manifests, ocispec.Descriptor{Digest: digest.FromString(text), Platform: platform("linux/" + text)})
			}
			// Those are never chosen.
			index.Manifests = append(index.Manifests, ocispec.Descriptor{Platform: platform("windows/" + test.want)},
				ocispec.Descriptor{Platform: &ocispec.Platform{OS: "unknown", Architecture: "unknown"}}, ocispec.Descriptor{})
			document, err := json.Marshal(index)
			if err != nil {
				t.Fatal(err)
			}
			want, err := platforms.Parse("linux/" + test.want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := choose("x", document, want)
			if test.chosen == "" {
				if err == nil || !strings.Contains(err.Error(), "no image for platform linux/") {
					t.Errorf("got %v and the error %v, want that there is none", got.Platform, err)
				}
				return
			}
			if err != nil || got.Digest != digest.FromString(test.chosen) {
				t.Errorf("got %v and the error %v, want %s", got.Platform, err, test.chosen)
			}
		})
	}
}

// platform is one as it stands in an index, where nobody normalized it.
func platform(text string) *ocispec.Platform {
	parts := append(strings.Split(text, "/"), "")
	return &ocispec.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
}
