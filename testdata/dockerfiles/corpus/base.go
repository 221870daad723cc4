package corpus

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// PushBases pushes what cases start from to a registry on loopback.
func PushBases(ctx context.Context, registry string, base v1.Image) (Bases, error) {
	bare, err := mutate.Config(base, v1.Config{Cmd: []string{"sh"}})
	if err != nil {
		return nil, err
	}
	annotated, ok := mutate.Annotations(bare, map[string]string{"org.example.base": "bare"}).(v1.Image)
	if !ok {
		return nil, fmt.Errorf("annotations of an image make a %T", bare)
	}
	docker, err := dockerImage(base)
	if err != nil {
		return nil, err
	}
	bases := Bases{"@REGISTRY@": registry}
	for word, image := range map[string]v1.Image{"BASE": base, "BARE": annotated, "DOCKER": docker} {
		reference := registry + "/corpus/" + strings.ToLower(word) + ":1"
		ref, err := name.ParseReference(reference, name.Insecure)
		if err != nil {
			return nil, err
		}
		if err := remote.Write(ref, image, remote.WithContext(ctx)); err != nil {
			return nil, fmt.Errorf("push %q: %w", reference, err)
		}
		bases["@"+word+"@"] = reference
	}
	reference := registry + "/corpus/index:1"
	bases["@INDEX@"] = reference
	return bases, pushIndex(ctx, reference)
}

// pushIndex pushes an index of two images, each with the name of its architecture in a file.
func pushIndex(ctx context.Context, reference string) error {
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		return err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		layer, err := crane.Layer(map[string][]byte{"arch": []byte(arch + "\n")})
		if err != nil {
			return err
		}
		image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
		if err != nil {
			return err
		}
		config, err := image.ConfigFile()
		if err != nil {
			return err
		}
		config = config.DeepCopy()
		config.OS, config.Architecture = "linux", arch
		if image, err = mutate.ConfigFile(image, config); err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	return remote.WriteIndex(ref, index, remote.WithContext(ctx))
}

// dockerImage is the base with Docker's media types.
func dockerImage(base v1.Image) (v1.Image, error) {
	layers, err := base.Layers()
	if err != nil {
		return nil, err
	}
	config, err := base.ConfigFile()
	if err != nil {
		return nil, err
	}
	image := v1.Image(empty.Image) // which has Docker's
	for _, l := range layers {
		if image, err = mutate.Append(image, mutate.Addendum{Layer: l, MediaType: types.DockerLayer}); err != nil {
			return nil, err
		}
	}
	own, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	own = own.DeepCopy()
	own.OS, own.Architecture, own.Config = config.OS, config.Architecture, config.Config
	return mutate.ConfigFile(image, own)
}

// For is the bases of one case: its parent has a reference of its own.
func (b Bases) For(c *Case) Bases {
	own := maps.Clone(b)
	own["@PARENT@"] = b["@REGISTRY@"] + "/corpus/" + c.Name + ":parent"
	return own
}
