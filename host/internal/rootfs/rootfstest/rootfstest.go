// Package rootfstest runs tests as root or in a user namespace, shows them what overlayfs shows, and describes trees on
// disk and in memory in the same words.
package rootfstest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// inNamespace marks a test process that runs as root of a user namespace which maps one id.
const inNamespace = "TROWEL_TEST_IN_USER_NAMESPACE"

// Main runs the tests as root: without it, in a user namespace. It does not return.
func Main(m *testing.M) {
	if os.Geteuid() == 0 || InNamespace() {
		os.Exit(m.Run())
	}
	cmd := namespaced(exec.Command(os.Args[0], os.Args[1:]...))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "run the tests in a user namespace:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// InNamespace says whether the tests run in a user namespace that maps one id.
func InNamespace() bool { return os.Getenv(inNamespace) != "" }

func namespaced(cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
	return cmd
}

// Again runs all tests but the calling one once more, as root of a user namespace.
func Again(t *testing.T) {
	t.Helper()
	cmd := namespaced(exec.CommandContext(t.Context(), os.Args[0], "-test.skip=^"+t.Name()+"$"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// Options are those for where the tests run.
func Options(t testing.TB) rootfs.Options {
	t.Helper()
	if !InNamespace() {
		return rootfs.Options{}
	}
	owners, err := rootfs.MappedOwners()
	if err != nil {
		t.Fatal(err)
	}
	return rootfs.Options{Form: rootfs.UserXattrs, Owners: owners}
}

// Mount mounts layer directories, the topmost first, and an upper directory unless it is "", and calls do with where. The
// mount is seen by the goroutine that calls do alone, and by processes that it starts.
func Mount(t *testing.T, lowers []string, upper string, do func(dir string)) {
	t.Helper()
	dir, work := t.TempDir(), t.TempDir()
	opts := []string{"lowerdir=" + strings.Join(lowers, ":"), "redirect_dir=off", "metacopy=off"}
	if upper != "" {
		opts = append(opts, "upperdir="+upper, "workdir="+work)
	} else if len(lowers) == 1 {
		opts[0] += ":" + work // a mount without an upper directory wants two
	}
	if Options(t).Form == rootfs.UserXattrs {
		opts = []string{opts[0], "userxattr"}
		if upper != "" {
			opts = append(opts, "upperdir="+upper, "workdir="+work)
		}
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends, and with it its mounts
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
				return fmt.Errorf("unshare: %w", err)
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return fmt.Errorf("make mounts private: %w", err)
			}
			if err := unix.Mount("overlay", dir, "overlay", 0, strings.Join(opts, ",")); err != nil {
				return fmt.Errorf("mount overlay %q: %w", opts, err)
			}
			do(dir)
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
