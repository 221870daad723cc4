package executor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A container's image lies in layers that cannot be written, and whose directories cannot be renamed.
func TestSwapLower(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lower := filepath.Join(dir, "lower")
	makeFiles(t, lower, "image", []string{"usr/bin/sh", "usr/lib/deep/er/lib.so", "usr/share/empty/", "var/run/secrets/token/", "var/log/x", "file"})
	must(t, os.Chmod(lower+"/usr/share", 0o2750))
	for _, d := range []string{"upper", "work", "root"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	inOwnMountNamespace(t, func() {
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, dir, dir)
		if !initialUserNamespace() {
			options += ",userxattr"
		}
		root := filepath.Join(dir, "root")
		must(t, unix.Mount("overlay", root, "overlay", 0, options))
		must(t, unix.Mount("none", root+"/var/run/secrets/token", "tmpfs", 0, ""))
		if err := os.Rename(root+"/usr", root+"/usr2"); err == nil {
			t.Fatal("a directory of the image's can be renamed here")
		}
		f := fakeRoot{root: root, own: root + "/.trowel"}
		f.plain = Plain{Dir: f.own + "/work/stage", Aside: f.own + "/work/aside"}
		makeFiles(t, f.plain.Dir, "stage", []string{"usr/bin/bash", "var/lib/x"})
		must(t, os.MkdirAll(f.plain.Aside, 0o755))
		container, stage := picture(t, root), picture(t, f.plain.Dir)
		for range 2 { // the second time they lie in the layer that can be written
			f.in(t, func() {
				for name, want := range map[string]bool{"usr/bin/bash": true, "usr/bin/sh": false, "var/lib/x": true, "var/log": false, "file": false} {
					if _, err := os.Lstat(filepath.Join(root, name)); (err == nil) != want {
						t.Errorf("%s inside: %v, want %v", name, err, want)
					}
				}
			})
			if diff := cmp.Diff(container, picture(t, root)); diff != "" {
				t.Errorf("the container afterwards (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(stage, picture(t, f.plain.Dir)); diff != "" {
				t.Errorf("the plain directory afterwards (-want +got):\n%s", diff)
			}
		}
	})
}

// A builder that is killed in the middle of a swap leaves a container that can be put in order.
func TestSwapKilled(t *testing.T) {
	t.Parallel()
	f := newFakeRoot(t, []string{"etc/passwd", "bin/sh", "tmp/left", "kaniko/executor", "kaniko/.docker/config.json", "busybox/sh", "only", "a/b/c"},
		[]string{"etc/passwd", "bin/bash", "tmp/", "srv/app/file", "top", "kaniko/mine", "a/file"})
	container, stage := picture(t, f.root), picture(t, f.plain.Dir)
	for range 60 {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
		cmd.Args = []string{"swaps"}
		cmd.Env = append(os.Environ(), envSwaps+"="+f.root)
		cmd.Stderr = os.Stderr
		must(t, cmd.Start())
		for started := time.Now(); ; time.Sleep(time.Millisecond) {
			if _, err := os.Lstat(f.own + "/" + journalName); err == nil || time.Since(started) > 10*time.Second {
				break
			}
		}
		time.Sleep(time.Duration(rand.IntN(3_000)) * time.Microsecond)
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
		must(t, recoverIn(t.Context(), f.root, f.own))
		if diff := cmp.Diff(container, picture(t, f.root)); diff != "" {
			t.Fatalf("the container afterwards (-want +got):\n%s", diff)
		}
		// The directory itself is a dead build's: what counts is that nothing of it is left in the root.
		if got := picture(t, f.plain.Dir); len(got) != len(stage) {
			t.Fatalf("the plain directory afterwards: %v", got)
		}
	}
}

// endlessSwaps is that builder.
func endlessSwaps(root string) int {
	own := root + "/.trowel"
	for {
		h, err := openInPlace(context.Background(), root, own)
		if err == nil {
			var s *swap
			s, err = h.swapIn(Plain{Dir: own + "/work/stage", Aside: own + "/work/aside"})
			if err == nil {
				err = s.leave()
			}
			if err == nil {
				err = s.close()
			}
		}
		if err == nil {
			err = h.close()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
}
