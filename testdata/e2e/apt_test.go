//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/bench/imagediff"
)

// aptStamps are the files that apt, dpkg and what they run write the time or the order of events into. Everything
// else of an installation is the same in every build.
func aptStamps() map[string]string {
	return map[string]string{
		"/var/cache/apt/pkgcache.bin":    "has the times of apt's lists",
		"/var/cache/apt/srcpkgcache.bin": "has the times of apt's lists",
		"/var/log/apt/history.log":       "has the time of the installation",
		"/var/log/apt/term.log":          "has the time of the installation",
		"/var/log/apt/eipp.log.xz":       "has the planner's input in an order of its own",
		"/var/log/dpkg.log":              "has the time of each package",
		"/var/log/alternatives.log":      "has the time of each alternative",
		"/var/cache/ldconfig/aux-cache":  "has inode numbers and times of libraries",
	}
}

// testApt is a build as people have them: it installs packages and copies a tree. The image has to be BuildKit's,
// to run under a Docker engine, and to be acceptable to skopeo and umoci.
func (s *suite) testApt(t *testing.T) {
	ctx := t.Context()
	c := loadCase(t, filepath.Join("apt", "apt.txtar"), s.debian)
	reference := s.compareImages(t, ctx, c, imagediff.Options{Content: aptStamps()})

	t.Run("docker", func(t *testing.T) {
		docker, err := s.docker()
		if err != nil {
			t.Fatal(err)
		}
		got, err := docker.Run(ctx, "run", "--rm", "--network=host", reference)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff("hello from the tree, git version 2\n", got); diff != "" {
			t.Errorf("what the container printed (-want +got):\n%s", diff)
		}
	})
	t.Run("skopeo", func(t *testing.T) {
		out := command(t, "skopeo", "inspect", "--tls-verify=false", "docker://"+reference)
		if !strings.Contains(out, `"Layers"`) {
			t.Errorf("skopeo inspect printed %s", out)
		}
	})
	t.Run("umoci", func(t *testing.T) {
		dir := t.TempDir()
		layout, bundle := filepath.Join(dir, "layout"), filepath.Join(dir, "bundle")
		command(t, "skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "docker://"+reference, "oci:"+layout+":apt")
		command(t, "umoci", "unpack", "--image", layout+":apt", bundle)
		for _, name := range []string{"usr/bin/git", "usr/bin/python3", "srv/tree/hello.py"} {
			if _, err := os.Lstat(filepath.Join(bundle, "rootfs", name)); err != nil {
				t.Error(err)
			}
		}
	})
}

// command runs a program and returns its standard output.
func command(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), name, arguments...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run %q: %v\n%s", cmd.Args, err, stderr.String())
	}
	return string(out)
}
