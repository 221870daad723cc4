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
