package host

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// localPlatform is how buildx lets users write this machine's platform.
const localPlatform = "local"

// targetPlatforms are the platforms asked for, each once, or this machine's.
func targetPlatforms(texts []string) ([]ocispec.Platform, error) {
	var all []ocispec.Platform
	for _, text := range texts {
		p, err := targetPlatform(text)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(all, func(other ocispec.Platform) bool { return platforms.FormatAll(other) == platforms.FormatAll(p) }) {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		all = append(all, platforms.DefaultSpec())
	}
	return all, nil
}

// targetPlatform is a platform as a user writes it; empty means this machine's.
func targetPlatform(text string) (ocispec.Platform, error) {
	if text == "" || text == localPlatform {
		return platforms.DefaultSpec(), nil
	}
	p, err := platforms.Parse(text)
	if err != nil {
		return p, fmt.Errorf("platform %q: %w", text, err)
	}
	if p.OS != "linux" {
		return p, &Error{fmt.Errorf("platform %q: only Linux images are built", text), "name one such as linux/" + runtime.GOARCH}
	}
	return platforms.Normalize(p), nil
}

// multiPlatform is the build argument that asks for an index even over a single image.
const multiPlatform = "BUILDKIT_MULTI_PLATFORM"

// checkIndex finds out whether there will be an index, and refuses what does not go with that.
func (b *build) checkIndex() error {
	several := len(b.platforms) > 1
	b.targets.index = several
	if text := b.BuildArgs[multiPlatform]; text != "" {
		index, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("build argument %s=%q: it is neither true nor false", multiPlatform, text)
		}
		if several && !index {
			return &Error{fmt.Errorf("%d platforms make an index, and build argument %s=%s forbids it", len(b.platforms), multiPlatform, text), "build for each platform alone"}
		}
		b.targets.index = index
	}
	if err := b.targets.annotations.CheckPlatforms(b.platforms); err != nil {
		return err
	}
	if !b.targets.index {
		return b.targets.annotations.CheckSingle()
	}
	for _, s := range b.targets.outputs {
		if err := s.CheckIndex(); err != nil {
			return fmt.Errorf("output type=%s: %w", s.Type, err)
		}
	}
	return nil
}
