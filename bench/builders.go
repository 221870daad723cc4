package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"

	"github.com/trowel-build/trowel/bench/lab"
)

// builder builds a context and pushes the image. Prune empties its cache.
type builder interface {
	build(ctx context.Context, dir, reference string, log io.Writer) (usage, error)
	prune(ctx context.Context) error
}

// keeper is a builder that has to be told that there will be a rebuild.
type keeper interface{ keep() }

// The builders that take turns unless others are named, in their order. Ratios are those of the first to each of the others.
var builderNames = []string{"trowel", "buildkit", "buildah"}

// knownBuilders are all that can be named.
func knownBuilders() []string { return append(slices.Clone(builderNames), imageBuilder, kanikoBuilder) }

// namedBuilder is a builder with its name in the report.
type namedBuilder struct {
	name string
	builder
}

func openBuilders(ctx context.Context, l *lab.Lab, registry *lab.Registry, o options) ([]namedBuilder, error) {
	var builders []namedBuilder
	containers := &engine{lab: l}
	for _, name := range o.builders {
		var b builder
		var err error
		switch name {
		case "trowel":
			b, err = openTrowel(ctx, l, o.trowel)
		case "buildkit":
			var daemon *lab.BuildKit
			daemon, err = l.StartBuildKit(ctx, registry)
			b = buildkit{daemon}
		case "buildah":
			var storage *lab.Buildah
			storage, err = l.NewBuildah(ctx)
			b = buildah{storage}
		case imageBuilder:
			b, err = containers.openImage(ctx, registry, o)
		case kanikoBuilder:
			b, err = containers.openKaniko(ctx, registry)
		}
		if err != nil {
			return nil, err
		}
		builders = append(builders, namedBuilder{name, b})
	}
	return builders, nil
}

// buildkit is BuildKit: the daemon stays, its cache is pruned.
type buildkit struct{ daemon *lab.BuildKit }

func (b buildkit) build(ctx context.Context, dir, reference string, log io.Writer) (usage, error) {
	return usage{}, b.daemon.Build(ctx, dir, reference, log)
}

func (b buildkit) prune(ctx context.Context) error { return b.daemon.Prune(ctx) }

// buildah is buildah with a fresh storage.
type buildah struct{ storage *lab.Buildah }

func (b buildah) build(ctx context.Context, dir, reference string, log io.Writer) (usage, error) {
	return usage{}, b.storage.Build(ctx, dir, reference, log)
}

func (b buildah) prune(ctx context.Context) error { return b.storage.Prune(ctx) }

// trowel is trowel with a fresh cache directory.
type trowel struct {
	binary string
	lab    *lab.Lab
	cache  string
}

func openTrowel(ctx context.Context, l *lab.Lab, binary string) (*trowel, error) {
	if binary == "" {
		var err error
		if binary, err = l.Trowel(ctx); err != nil {
			return nil, err
		}
	}
	binary, err := exec.LookPath(binary)
	if err != nil {
		return nil, fmt.Errorf("find trowel: %w", err)
	}
	t := &trowel{binary: binary, lab: l}
	return t, t.prune(ctx)
}

func (t *trowel) build(ctx context.Context, dir, reference string, log io.Writer) (usage, error) {
	return measure(ctx, log, t.binary, "build", "-t", reference, "--push", "--progress=plain", "--cache-dir", t.cache, dir)
}

func (t *trowel) prune(context.Context) (err error) {
	if t.cache, err = t.lab.Dir("trowel-cache"); err != nil {
		return err
	}
	return os.Remove(t.cache) // it makes its own
}
