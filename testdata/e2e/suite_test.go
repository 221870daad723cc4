//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/trowel-build/trowel/bench/imagediff"
	"github.com/trowel-build/trowel/bench/lab"
)

// builder builds the context of a case and pushes the image.
type builder interface {
	build(ctx context.Context, c testCase, reference string, log io.Writer) error
}

// suite is what the tests share.
type suite struct {
	lab      *lab.Lab
	registry *lab.Registry
	debian   string // the base image
	oracle   buildkit
	subject  builder
	reader   *imagediff.Reader
	docker   func() (*lab.Docker, error) // an engine, started by who wants it first
}

// openSuite sets everything up and takes it down when t ends.
func openSuite(t *testing.T, subject string) *suite {
	t.Helper()
	l, err := lab.Open(labDir(t), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &suite{lab: l, reader: imagediff.NewReader()}
	ctx := t.Context()
	s.docker = sync.OnceValues(func() (*lab.Docker, error) { return l.StartDocker(ctx) })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(l.Install(ctx, "skopeo", "umoci", "setcap"))
	s.registry, err = l.StartRegistry(ctx)
	must(err)
	must(l.PushBase(ctx, s.registry))
	s.debian = s.registry.Address + "/library/debian:12"
	must(s.startOracle(t))
	switch subject {
	case "trowel":
		must(s.startTrowel(t))
	case "buildkit":
		again := s.oracle
		again.arguments = []string{"--no-cache"}
		s.subject = again
	case "buildah":
		storage, err := l.NewBuildah(ctx)
		must(err)
		s.subject = buildah{storage}
	default:
		t.Fatalf("-subject %q: use trowel, buildkit or buildah", subject)
	}
	return s
}

// startOracle starts BuildKit.
func (s *suite) startOracle(t *testing.T) error {
	daemon, err := s.lab.StartBuildKit(t.Context(), s.registry)
	s.oracle = buildkit{turn: &sync.Mutex{}, daemon: daemon}
	return err
}

// startTrowel compiles trowel, unless $TROWEL is one, and gives it a cache.
func (s *suite) startTrowel(t *testing.T) (err error) {
	binary := os.Getenv("TROWEL")
	if binary == "" {
		if binary, err = s.lab.Trowel(t.Context()); err != nil {
			return err
		}
	}
	cache, err := s.lab.Dir("e2e-cache")
	s.subject = trowel{binary: binary, cache: cache}
	return err
}

// reference returns where an image of a test is pushed.
func (s *suite) reference(repository, tag string) string {
	return s.registry.Address + "/e2e/" + repository + ":" + tag
}

// buildkit is the oracle. It builds one case at a time, so that it has no context left from another.
type buildkit struct {
	turn      *sync.Mutex
	daemon    *lab.BuildKit
	arguments []string
}

func (b buildkit) build(ctx context.Context, c testCase, reference string, log io.Writer) error {
	arguments := append([]string{}, b.arguments...)
	for _, argument := range c.buildArgs {
		arguments = append(arguments, "--opt=build-arg:"+argument)
	}
	if c.target != "" {
		arguments = append(arguments, "--opt=target="+c.target)
	}
	b.turn.Lock()
	defer b.turn.Unlock()
	if err := b.daemon.PruneContexts(ctx); err != nil {
		return err
	}
	return b.daemon.Build(ctx, c.dir, reference, log, arguments...)
}

// buildah is a second opinion.
type buildah struct{ storage *lab.Buildah }

func (b buildah) build(ctx context.Context, c testCase, reference string, log io.Writer) error {
	var arguments []string
	for _, argument := range c.buildArgs {
		arguments = append(arguments, "--build-arg="+argument)
	}
	if c.target != "" {
		arguments = append(arguments, "--target="+c.target)
	}
	return b.storage.Build(ctx, c.dir, reference, log, arguments...)
}

// trowel is what is tested.
type trowel struct{ binary, cache string }

func (b trowel) build(ctx context.Context, c testCase, reference string, log io.Writer) error {
	arguments := []string{"build", "-t", reference, "--push", "--progress=plain", "--cache-dir", b.cache}
	for _, argument := range c.buildArgs {
		arguments = append(arguments, "--build-arg="+argument)
	}
	if c.target != "" {
		arguments = append(arguments, "--target="+c.target)
	}
	cmd := exec.CommandContext(ctx, b.binary, append(arguments, c.dir)...)
	var digest bytes.Buffer
	cmd.Stdout, cmd.Stderr = &digest, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %q: %w", strings.Join(cmd.Args, " "), err)
	}
	if !strings.HasPrefix(digest.String(), "sha256:") || strings.Count(digest.String(), "\n") != 1 {
		return fmt.Errorf("run %q: standard output is %q, not a digest alone", strings.Join(cmd.Args, " "), digest.String())
	}
	return nil
}

var subjectFlag = flag.String("subject", "trowel", "the builder to compare with BuildKit: trowel, buildkit or buildah")

func TestEndToEnd(t *testing.T) {
	s := openSuite(t, *subjectFlag)
	t.Run("apt", s.testApt)
	t.Run("expand", s.testExpand)
	t.Run("checks", s.testChecks)
	t.Run("platforms", s.testPlatforms)
	t.Run("foreign", s.testForeign)
	t.Run("projects", s.testProjects)
	t.Run("remote", s.testRemote)
	t.Run("supervised", s.testSupervised)
	t.Run("containers", s.testContainers)
}
