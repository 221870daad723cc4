package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/bench/lab"
)

// The builders that run in a default container of a Docker engine, as jobs that were made for kaniko run them.
const (
	imageBuilder  = "image"  // Trowel's own image
	kanikoBuilder = "kaniko" // kaniko itself
)

// container is an image in a default container. A container starts with nothing; what a rebuild finds is in the registry.
type container struct {
	docker  *lab.Docker
	command []string // after the arguments of docker run
	cache   string   // repository of the cache, another after each prune
	count   int
	kept    bool // there will be a rebuild
}

// engine is the Docker engine that the builders in containers share.
type engine struct {
	lab    *lab.Lab
	docker *lab.Docker
}

func (e *engine) start(ctx context.Context) (docker *lab.Docker, err error) {
	if e.docker == nil {
		e.docker, err = e.lab.StartDocker(ctx)
	}
	return e.docker, err
}

// openKaniko is kaniko in a container.
func (e *engine) openKaniko(ctx context.Context, registry *lab.Registry) (*container, error) {
	docker, err := e.start(ctx)
	if err != nil {
		return nil, err
	}
	command := []string{lab.KanikoImage, "--insecure", "--insecure-pull"}
	return &container{docker: docker, command: command, cache: registry.Address + "/bench/kaniko-cache"}, e.lab.ImportKaniko(ctx, docker)
}

// openImage is Trowel's image in a container.
func (e *engine) openImage(ctx context.Context, registry *lab.Registry, o options) (*container, error) {
	archive, err := e.lab.Image(ctx, "linux/amd64")
	if err != nil {
		return nil, err
	}
	docker, err := e.start(ctx)
	if err != nil {
		return nil, err
	}
	local, err := openTrowel(ctx, e.lab, o.trowel)
	if err != nil {
		return nil, err
	}
	image := registry.Address + "/trowel:debug"
	if _, err := measure(ctx, io.Discard, local.binary, "copy", "oci-archive://"+archive, image); err != nil {
		return nil, err
	}
	command := []string{"--entrypoint=/busybox/time", image, "-v", "/kaniko/executor"}
	_, err = docker.Run(ctx, "pull", "-q", image)
	return &container{docker: docker, command: command, cache: registry.Address + "/bench/cache"}, err
}

// keep has what is built from now on kept for a rebuild, until the next prune.
func (c *container) keep() { c.kept = true }

// maxRSS is what busybox's time says of the builder and what it started. It takes kilobytes for pages.
var maxRSS = regexp.MustCompile(`Maximum resident set size \(kbytes\): (\d+)`)

func (c *container) build(ctx context.Context, dir, reference string, log io.Writer) (usage, error) {
	words := slices.Concat([]string{"run", "--rm", "--network=host", "-v", dir + ":/workspace:ro"}, c.command,
		[]string{"--context=dir:///workspace", "--destination=" + reference})
	if c.kept {
		words = append(words, "--cache", fmt.Sprintf("--cache-repo=%s%d", c.cache, c.count))
	}
	cmd := c.docker.Command(ctx, words...)
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = io.MultiWriter(log, &text), io.MultiWriter(log, &text)
	if err := cmd.Run(); err != nil {
		return usage{}, fmt.Errorf("run %q: %w\n%s", strings.Join(cmd.Args, " "), err, text.String())
	}
	match := maxRSS.FindStringSubmatch(text.String())
	if match == nil {
		return usage{}, nil // kaniko's image has no such program
	}
	pages, err := strconv.ParseInt(match[1], 10, 64)
	return usage{PeakRSS: pages * 1024 / (int64(os.Getpagesize()) / 1024)}, err
}

func (c *container) prune(context.Context) error {
	c.kept = false
	c.count++
	return nil
}
