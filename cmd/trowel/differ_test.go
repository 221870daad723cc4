package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/bench/imagediff"
	"github.com/trowel-build/trowel/testdata/randbuild"
)

var (
	firstBuild = flag.Uint64("differ.first", 1, "the first random build of TestDiffer")
	manyBuilds = flag.Uint64("differ.builds", 30, "how many random builds TestDiffer makes")
)

// TestDiffer makes random builds in several ways, which have to give the same image: cold and from the cache, stage by stage
// and side by side, from the index and with a root file system made real after each instruction. testdata/e2e compares the
// same builds with BuildKit's.
func TestDiffer(t *testing.T) {
	t.Parallel()
	needRun(t)
	registry := newWickedRegistry(t)
	base := registry.pushBase(t, "1")
	reader := imagediff.NewReader()
	for seed := *firstBuild; seed < *firstBuild+*manyBuilds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			d := &differ{
				t: t, build: randbuild.New(seed, base), dir: t.TempDir(), reader: reader,
				repository: fmt.Sprintf("%s/differ/%d", registry.host(), seed), since: time.Now(),
			}
			d.run()
		})
	}
	t.Cleanup(registry.server.Close)
}

// differ makes one build in several ways.
type differ struct {
	t          *testing.T
	build      *randbuild.Build
	dir        string
	reader     *imagediff.Reader
	repository string
	since      time.Time
}

func (d *differ) run() {
	must(d.t, d.build.Write(filepath.Join(d.dir, "context")))
	cold, coldErr := d.trowel("cold", "one")
	again, againErr := d.trowel("again", "one")
	serial, serialErr := d.trowel("serial", "two", "--jobs", "1")
	_, realErr := d.trowel("real", "three", "-f", d.realDockerfile())
	if coldErr != nil {
		d.t.Log(complaint(coldErr.Error()))
		d.fail(map[string]error{"from the cache": againErr, "stage by stage": serialErr}, coldErr.Error())
		d.fail(map[string]error{"made real": realErr}, "")
		return
	}
	for name, err := range map[string]error{"from the cache": againErr, "stage by stage": serialErr, "made real": realErr} {
		if err != nil {
			d.errorf("%s, the build failed: %v", name, err)
		}
	}
	if d.t.Failed() {
		return
	}
	if cold != again {
		d.errorf("from the cache, the image is %s, not %s", again, cold)
	}
	if cold != serial && !d.build.Runs {
		d.errorf("stage by stage, the image is %s, not %s", serial, cold)
	}
	want, other, made := d.pull("cold"), d.pull("serial"), d.pull("real")
	if diff := imagediff.Diff(want, other, imagediff.Options{Since: d.since}); diff != "" {
		d.errorf("stage by stage: %s", diff)
	}
	if diff := cmp.Diff(lines(want.Tree, d.since), lines(made.Tree, d.since)); diff != "" {
		d.errorf("made real (-cold +real):\n%s", diff)
	}
	for _, i := range []*imagediff.Image{want, made} {
		for _, fault := range i.Faults {
			d.errorf("fault: %s", fault)
		}
	}
}

// fail demands that builds failed with an error that ends in these lines.
func (d *differ) fail(all map[string]error, text string) {
	for name, err := range all {
		if err == nil {
			d.errorf("%s, the build succeeded; cold it failed", name)
		} else if complaint(err.Error()) != complaint(text) && text != "" {
			d.errorf("%s, the build failed with another error:\n%v\nnot\n%s", name, err, text)
		}
	}
}

// errorf tells of a difference.
func (d *differ) errorf(format string, args ...any) {
	d.t.Helper()
	d.t.Errorf("%s\n%s", fmt.Sprintf(format, args...), d.build)
}

// realDockerfile writes the Dockerfile with a RUN after each instruction.
func (d *differ) realDockerfile() string {
	name := filepath.Join(d.dir, "Dockerfile")
	must(d.t, os.WriteFile(name, []byte(d.build.Dockerfile(`RUN ["`+randbuild.Tools+`/sh", "-c", "true"]`)), 0o644))
	return name
}

// trowel builds and pushes under a tag, with the cache of a name, and returns the digest.
func (d *differ) trowel(tag, cache string, flags ...string) (string, error) {
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*time.Minute)
	defer cancel()
	args := append([]string{
		"build", "--progress", "plain", "--cache-dir", filepath.Join(d.dir, cache), "--build-arg", "SOURCE_DATE_EPOCH=1600000000",
		"-t", d.repository + ":" + tag, "--push",
	}, flags...)
	cmd := exec.CommandContext(ctx, "trowel", append(args, filepath.Join(d.dir, "context"))...)
	var text strings.Builder
	cmd.Stderr = &text
	digest, err := cmd.Output()
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		if internals.MatchString(complaint(text.String())) || complaint(text.String()) == "" {
			d.errorf("%s: no clear error: %s", tag, &text)
		}
		return "", errors.New(text.String())
	}
	must(d.t, err)
	return string(digest), nil
}

func (d *differ) pull(tag string) *imagediff.Image {
	image, err := d.reader.Pull(d.t.Context(), d.repository+":"+tag)
	must(d.t, err)
	return image
}

// lines describes a tree. Times of the build itself are left out.
func lines(tree map[string]imagediff.Entry, since time.Time) map[string]string {
	all := map[string]string{}
	for name, e := range tree {
		at := ""
		if e.Time.Before(since.Truncate(time.Second)) {
			at = fmt.Sprint(e.Time.Unix())
		}
		all[name] = fmt.Sprintf("%s %s %d:%d %d %s%s %q %s", e.Type, e.Mode, e.UID, e.GID, e.Size, e.Digest, e.Target, e.Links, at)
	}
	return all
}
