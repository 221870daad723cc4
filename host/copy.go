package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/config"
	"github.com/trowel-build/trowel/host/internal/base"
	"github.com/trowel-build/trowel/host/internal/progress"
	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/sdk"
)

// CopyRequest says what to copy and where to.
type CopyRequest struct {
	// Source and Destination are references: "registry.example.com/app:1" is in a registry, "oci-layout://DIR[:TAG]" in a
	// directory, "oci-archive://FILE[:TAG]" and "docker-archive://FILE[:NAME]" in a file. A source may name a digest after
	// '@'. A destination's file "-" is Stdout.
	Source, Destination string
	// Platform picks one image of those that an index lists; empty copies the index with all of them.
	Platform string
	// Stdout receives an archive whose file is "-".
	Stdout io.Writer

	Registries map[string]config.Registry
	// DefaultRegistry, RegistryAttempts, SkipPushCheck and KeepImmutable are as in [Request].
	DefaultRegistry  config.Registry
	RegistryAttempts int
	SkipPushCheck    Switch
	KeepImmutable    Switch
	Proxy            config.Proxy
	Credentials      []sdk.CredentialProvider
	UserAgent        string
	// Progress receives the events; nil discards them.
	Progress Reporter
}

// CopyResult is what was copied.
type CopyResult struct {
	// Digest, MediaType and Size are those of the manifest or index at the top. They are the source's, unless that is a
	// Docker archive without a manifest of its own.
	Digest    string `json:"digest"`
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"`
}

// copying is a copy in progress.
type copying struct {
	CopyRequest
	client *registry.Client
	source *base.Source
	graph  *graph
}

// destination is where a copy goes, checked before anything is read.
type destination interface {
	// prepare is called with the source open, before all of its manifests are read.
	prepare(ctx context.Context, c *copying) error
	// write writes everything, what others see last.
	write(ctx context.Context, c *copying) error
}

// Copy copies an image, or an index with all images it lists, byte for byte: digests stay. It returns when everything is
// written, or nothing shows: a registry then holds no more than blobs and manifests without a tag.
func Copy(ctx context.Context, r CopyRequest) (_ CopyResult, err error) {
	c := &copying{CopyRequest: r}
	to, err := parseDestination(r.Destination)
	if err != nil {
		return CopyResult{}, err
	}
	c.client, err = registry.New(registry.Options{
		Registries: r.Registries, Default: r.DefaultRegistry, Credentials: r.Credentials, UserAgent: r.UserAgent, Proxy: r.Proxy.Func(),
		Retry: registry.Retry{Attempts: r.RegistryAttempts},
	})
	if err != nil {
		return CopyResult{}, err
	}
	defer c.client.Close()
	if c.source, err = base.OpenSource(ctx, c.client, r.Source); err != nil {
		return CopyResult{}, err
	}
	defer func() { err = errors.Join(err, c.source.Close()) }()
	if err := c.choose(ctx); err != nil {
		return CopyResult{}, err
	}
	if err := to.prepare(ctx, c); err != nil {
		return CopyResult{}, err
	}
	if c.graph, err = readGraph(ctx, c.source); err != nil {
		return CopyResult{}, err
	}
	for _, left := range c.graph.left {
		c.report(warning(fmt.Sprintf("layer %s stays where it is: its media type %q says that it must not be copied", left.Digest, left.MediaType)))
	}
	if err := to.write(ctx, c); err != nil {
		return CopyResult{}, err
	}
	top := c.top()
	return CopyResult{Digest: top.Digest.String(), MediaType: top.MediaType, Size: top.Size}, nil
}

// choose puts the image for a platform in the place of the index that lists it, if one is asked for.
func (c *copying) choose(ctx context.Context) error {
	if c.Platform == "" {
		return nil
	}
	platform, err := platforms.Parse(c.Platform)
	if err != nil {
		return fmt.Errorf("platform %q: %w", c.Platform, err)
	}
	c.source.Top, c.source.Document, err = c.source.Choose(ctx, platforms.Normalize(platform))
	return err
}

// top describes what is copied. What an index or a layout says about its entry, its platform or its old name say, is not
// the entry's own and stays behind.
func (c *copying) top() ocispec.Descriptor {
	d := c.source.Top
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

func (c *copying) report(e Event) {
	if c.Progress == nil {
		c.Progress = progress.Discard{}
	}
	c.Progress.Report(e)
}

// parseDestination reads where a copy goes.
func parseDestination(reference string) (destination, error) {
	scheme, rest, ok := base.IsScheme(reference)
	if !ok {
		if strings.Contains(reference, "://") {
			return nil, &Error{
				fmt.Errorf("copy to %q: unknown scheme", reference),
				"a registry's image is named without a scheme; others are " + strings.Join(base.Schemes(), ", "),
			}
		}
		ref, err := registry.ParseReference(reference)
		return &toRegistry{ref: ref}, err
	}
	if rest == "" {
		return nil, fmt.Errorf("copy to %q: it names no file", reference)
	}
	if scheme == base.SchemeDockerArchive {
		file, name, _ := strings.Cut(rest, ":")
		return &toDockerArchive{file: file, name: name}, nil
	}
	if strings.Contains(rest, "@") {
		return nil, &Error{fmt.Errorf("copy to %q: a copy has the digest of its source", reference), "name it with a tag: " + scheme + "PATH:TAG"}
	}
	path, tag := rest, ""
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		path, tag = rest[:i], rest[i+1:]
	}
	if path == "" {
		return nil, fmt.Errorf("copy to %q: it names no file", reference)
	}
	return &toLayout{scheme: scheme, path: path, tag: first(tag, "latest")}, nil
}
