//go:build e2e

package e2e

import (
	"path/filepath"
	"testing"

	"github.com/trowel-build/trowel/testdata/dockerfiles/corpus"
)

// testCase is a build context, written as a case of the corpus is, upon the Debian base.
type testCase struct {
	name, dir string
	buildArgs []string
	target    string

	file, debian string // what it was loaded from, for again
}

// loadCase unpacks a case. "@DEBIAN@" in it is the base image, "@GO@" and the like those of projects/kits.
func loadCase(t *testing.T, file, debian string) testCase {
	t.Helper()
	c, err := corpus.LoadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := c.Unpack(t.Context(), dir, kits(t, debian)); err != nil {
		t.Fatal(err)
	}
	return testCase{
		name: c.Name, dir: filepath.Join(dir, "context"), buildArgs: c.BuildArgs, target: c.Target,
		file: file, debian: debian,
	}
}

// again unpacks the case once more. Each builder has a context of its own, so that none sees what
// another left.
func (c *testCase) again(t *testing.T) testCase {
	t.Helper()
	return loadCase(t, c.file, c.debian)
}
