package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/bench/lab"
)

// imageBuilder is the name of Trowel's own image among the builders.
const imageBuilder = "image"

// kanikoSeconds are kaniko's medians, taken once on two cores in a default container, on the same contexts. The rebuild is from
// its cache in a registry.
func kanikoSeconds() map[string]float64 {
	return map[string]float64{"steps": 13.2, "copyonly": 10.2, "stages": 57.5, "tree": 13.5, "blob": 18.9, "app": 14.2, "app-unchanged": 8.2}
}

// container is Trowel's image in a default container, as a job that was made for kaniko runs it. A container starts with
// nothing; what a rebuild finds is in the registry.
type container struct {
	docker *lab.Docker
	image  string
	cache  string // repository of the cache, another after each prune
	count  int
}

func openContainer(ctx context.Context, l *lab.Lab, registry *lab.Registry, o options) (*container, error) {
	archive, err := l.Image(ctx, "linux/amd64")
	if err != nil {
		return nil, err
	}
	docker, err := l.StartDocker(ctx)
	if err != nil {
		return nil, err
	}
	c := &container{docker: docker, image: registry.Address + "/trowel:debug", cache: registry.Address + "/bench/cache"}
	local, err := openTrowel(ctx, l, o.trowel)
	if err != nil {
		return nil, err
	}
	if _, err := measure(ctx, io.Discard, local.binary, "copy", "oci-archive://"+archive, c.image); err != nil {
		return nil, err
	}
	_, err = docker.Run(ctx, "pull", "-q", c.image)
	return c, err
}

// maxRSS is what busybox's time says of the builder and what it started.
var maxRSS = regexp.MustCompile(`Maximum resident set size \(kbytes\): (\d+)`)

func (c *container) build(ctx context.Context, dir, reference string, log io.Writer) (usage, error) {
	cmd := c.docker.Command(ctx, "run", "--rm", "--network=host", "-v", dir+":/workspace:ro", "--entrypoint=/busybox/time", c.image,
		"-v", "/kaniko/executor", "--context=dir:///workspace", "--destination="+reference, "--cache",
		fmt.Sprintf("--cache-repo=%s%d", c.cache, c.count))
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = io.MultiWriter(log, &text), io.MultiWriter(log, &text)
	if err := cmd.Run(); err != nil {
		return usage{}, fmt.Errorf("run %q: %w\n%s", strings.Join(cmd.Args, " "), err, text.String())
	}
	match := maxRSS.FindStringSubmatch(text.String())
	if match == nil {
		return usage{}, fmt.Errorf("run %q: no peak memory in what it said", strings.Join(cmd.Args, " "))
	}
	kilobytes, err := strconv.ParseInt(match[1], 10, 64)
	return usage{PeakRSS: kilobytes * 1024}, err
}

func (c *container) prune(context.Context) error {
	c.count++
	return nil
}
