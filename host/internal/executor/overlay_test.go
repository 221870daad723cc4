package executor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inOwnMountNamespace runs f on a thread that ends with it, in a mount namespace of its own.
func inOwnMountNamespace(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread is spoilt
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			t.Error(err)
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

// What a step removes and replaces is in the upper directory as overlayfs marks it.
func TestUpper(t *testing.T) {
	t.Parallel()
	r := newRootfs(t, 2)
	must(t, os.WriteFile(filepath.Join(base(r), "etc/gone"), []byte("x"), 0o644))
	must(t, os.MkdirAll(filepath.Join(base(r), "srv/old"), 0o755))
	must(t, os.WriteFile(filepath.Join(base(r), "srv/old/file"), nil, 0o644))
	mustOutput(t, r, command("all",
		"rm", "/etc/gone", ";", "rm", "/srv", ";", "mkdir", "/srv", ";", "write", "/srv/new", "", ";", "append", "/etc/hosts", "more"))
	var st unix.Stat_t
	must(t, unix.Lstat(filepath.Join(r.Upper, "etc/gone"), &st))
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		t.Errorf("whiteout: mode %o, device %d", st.Mode, st.Rdev)
	}
	name := "user.overlay.opaque"
	if userNamespace(t).Initial {
		name = "trusted.overlay.opaque"
	}
	value := make([]byte, 8)
	n, err := unix.Lgetxattr(filepath.Join(r.Upper, "srv"), name, value)
	if err != nil || string(value[:max(n, 0)]) != "y" {
		t.Errorf("opaque mark: %q, %v", value[:max(n, 0)], err)
	}
	text, err := os.ReadFile(filepath.Join(r.Upper, "etc/hosts"))
	if err != nil || string(text) != "more" {
		t.Errorf("changed file: %q, %v", text, err)
	}
}

// The same upper directory serves the next process of a step.
func TestUpperAgain(t *testing.T) {
	t.Parallel()
	r := newRootfs(t, 1)
	mustOutput(t, r, command("write", "/tmp/a", "first"))
	if got := mustOutput(t, r, command("cat", "/tmp/a")); got != "first" {
		t.Errorf("second process reads %q", got)
	}
}

func TestManyLayers(t *testing.T) {
	t.Parallel()
	counts := []int{130, 300, 499}
	if os.Getenv(envInside) != "" {
		counts = counts[:1] // how many there can be does not depend on who asks
	}
	for _, n := range counts {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			r := emptyRootfs(t.TempDir())
			var want []string
			long := strings.Repeat("0123456789abcdef", 4) // names as long as a digest
			for i := range n {
				name := fmt.Sprintf("%s-%03d", long, i)
				r.Lowers = append(r.Lowers, name)
				must(t, os.MkdirAll(filepath.Join(r.LayersDir, name, "srv"), 0o755))
				file := fmt.Sprintf("%03d", i)
				want = append(want, file)
				must(t, os.WriteFile(filepath.Join(r.LayersDir, name, "srv", file), nil, 0o644))
				must(t, os.WriteFile(filepath.Join(r.LayersDir, name, "srv/same"), []byte(file), 0o644))
			}
			for _, d := range []string{"proc", "sys", "dev", "bin"} {
				must(t, os.MkdirAll(filepath.Join(base(r), d), 0o755))
			}
			copyProgram(t, filepath.Join(base(r), "bin/inside"))
			got := strings.Fields(mustOutput(t, r, command("all", "ls", "/srv", ";", "cat", "/srv/same")))
			if want = append(want, "same", "000"); strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("got %d names, %q last; want %d", len(got), got[len(got)-1], len(want))
			}
		})
	}
}

func TestOverlayOnOverlay(t *testing.T) {
	t.Parallel()
	inner := newRootfs(t, 1)
	inOwnMountNamespace(t, func() {
		// The step is started from this thread, in whose namespace the upper directory lies on an overlay.
		r := newRootfs(t, 1)
		a := &assembly{ids: identities{initial: userNamespace(t).Initial}}
		s, err := newScratch(inner.Merged)
		must(t, err)
		root, err := a.mountOverlay(inner, s)
		must(t, err)
		defer unix.Close(root)
		must(t, os.MkdirAll(filepath.Join(inner.Merged, "tmp/upper"), 0o755))
		must(t, os.MkdirAll(filepath.Join(inner.Merged, "tmp/work"), 0o755))
		r.Upper, r.Work = filepath.Join(inner.Merged, "tmp/upper"), filepath.Join(inner.Merged, "tmp/work")
		_, err = a.mountOverlay(r, s)
		var setup *SetupError
		if !errors.As(err, &setup) || setup.Call != "mount overlay" || !strings.Contains(setup.Hint, "volume") {
			t.Errorf("err = %v", err)
		}
	})
}
