//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/trowel-build/trowel/bench/imagediff"
)

// compareCase builds a case twice and demands the same image, or the failure that the case wants.
func (s *suite) compareCase(t *testing.T, c testCase) {
	ctx := t.Context()
	if c.parent != "" {
		var log bytes.Buffer
		if err := s.oracle.build(ctx, testCase{dir: c.parent}, c.parentReference(s.debian), &log); err != nil {
			t.Fatalf("build the parent: %v", err)
		}
	}
	if c.wantError != nil {
		s.compareFailure(t, ctx, c)
		return
	}
	s.compareImages(t, ctx, c, imagediff.Options{})
}

// compareImages builds with the oracle and the subject and returns the reference of the subject's image.
func (s *suite) compareImages(t *testing.T, ctx context.Context, c testCase, options imagediff.Options) string {
	t.Helper()
	options.Since = time.Now()
	images := map[string]*imagediff.Image{}
	for _, side := range []struct {
		tag string
		builder
	}{{"want", s.oracle}, {"got", s.subject}} {
		var log bytes.Buffer
		if err := side.build(ctx, c.again(t), s.reference(c.name, side.tag), &log); err != nil {
			t.Fatalf("build with %T: %v\n%s", side.builder, err, log.String())
		}
		image, err := s.reader.Pull(ctx, s.reference(c.name, side.tag))
		if err != nil {
			t.Fatal(err)
		}
		images[side.tag] = image
	}
	if diff := imagediff.Diff(images["want"], images["got"], options); diff != "" {
		t.Error(diff)
	}
	for _, fault := range images["got"].Faults {
		if !slices.Contains(images["want"].Faults, fault) { // which has the base's
			t.Errorf("fault: %s", fault)
		}
	}
	return s.reference(c.name, "got")
}

// compareFailure demands that both builders refuse the case, and the subject with the right words.
func (s *suite) compareFailure(t *testing.T, ctx context.Context, c testCase) {
	t.Helper()
	if err := s.oracle.build(ctx, c, s.reference(c.name, "want"), &bytes.Buffer{}); err == nil {
		t.Error("BuildKit builds what should fail")
	}
	var log bytes.Buffer
	err := s.subject.build(ctx, c, s.reference(c.name, "got"), &log)
	if err == nil {
		t.Fatalf("the build succeeded, want an error that matches %q", c.wantError)
	}
	if text := log.String() + err.Error(); !c.wantError.MatchString(text) {
		t.Errorf("the build failed, but not with %q:\n%s", c.wantError, text)
	}
}
