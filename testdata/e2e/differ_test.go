//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/trowel-build/trowel/bench/imagediff"
	"github.com/trowel-build/trowel/bench/lab"
	"github.com/trowel-build/trowel/testdata/randbuild"
)

var (
	firstBuild = flag.Uint64("differ.first", 1, "the first random build to compare with BuildKit")
	manyBuilds = flag.Uint64("differ.builds", 60, "how many random builds to compare")
)

// accident is how BuildKit ends where --exclude leaves nothing, or a pattern goes through a file: see RATIONALE.md.
var accident = regexp.MustCompile(`failed to calculate checksum of ref \S+ "[^"]*": not found|failed to solve: lstat /\S*: no such file or directory|failed to stat \S+ lstat \S+: not a directory`)

// TestDiffer compares random builds, which cmd/trowel makes in several ways, with BuildKit. It needs no Debian.
func TestDiffer(t *testing.T) {
	l, err := lab.Open(labDir(t), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{lab: l, reader: imagediff.NewReader()}
	since := time.Now()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if s.registry, err = l.StartRegistry(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.startOracle(t), s.startTrowel(t)); err != nil {
		t.Fatal(err)
	}
	_, bases := pushBases(t, s.registry)
	t.Run("build", func(t *testing.T) {
		for seed := *firstBuild; seed < *firstBuild+*manyBuilds; seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				s.differ(t, seed, randbuild.New(seed, bases["@BASE@"]), since)
			})
		}
	})
}

// differ builds with both and demands the same image, or that both fail.
func (s *suite) differ(t *testing.T, seed uint64, build *randbuild.Build, since time.Time) {
	t.Helper()
	images := map[string]*imagediff.Image{}
	failures := map[string]error{}
	for _, side := range []struct {
		tag string
		builder
	}{{"got", s.subject}, {"want", s.oracle}} {
		dir := filepath.Join(t.TempDir(), "context")
		if err := build.Write(dir); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		reference := s.reference(fmt.Sprintf("differ%d", seed), side.tag)
		if err := side.build(t.Context(), testCase{dir: dir}, reference, &log); err != nil {
			failures[side.tag] = fmt.Errorf("%w\n%s", err, &log)
			continue
		}
		image, err := s.reader.Pull(t.Context(), reference)
		if err != nil {
			t.Fatal(err)
		}
		images[side.tag] = image
	}
	if len(failures) == 1 && (failures["got"] != nil || !accident.MatchString(failures["want"].Error())) {
		for tag, err := range failures {
			t.Errorf("only one builder failed, %q: %v\n%s", tag, err, build)
		}
	}
	if len(failures) > 0 {
		return
	}
	if diff := imagediff.Diff(images["want"], images["got"], imagediff.Options{Since: since}); diff != "" {
		t.Errorf("%s\n%s", diff, build)
	}
}
