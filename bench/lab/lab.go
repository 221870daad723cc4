// Package lab sets up what Trowel is compared with: a distribution registry on loopback, a real Debian base image,
// BuildKit, buildah and a Docker engine. The benchmark and the end-to-end tests share it.
//
// A lab brings what it needs itself, from apt and from Go modules, and keeps what is worth keeping (compiled
// programs, the base image) in its directory. It needs root on a Debian machine.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Lab is a work directory and the daemons that run for it.
type Lab struct {
	dir     string // kept between runs
	run     string // sockets and state of this run, short enough for the path of a socket
	log     io.Writer
	lock    *os.File
	daemons []*daemon
}

// DefaultDir returns the directory that a lab uses unless told otherwise.
func DefaultDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache directory (set HOME or XDG_CACHE_HOME): %w", err)
	}
	return filepath.Join(cache, "trowel-bench"), nil
}

// Open opens the lab in dir, which it creates. It says on log what takes long. Only one lab at a time uses a
// directory; the caller closes it.
func Open(dir string, log io.Writer) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("open lab: BuildKit, buildah and Docker are run as root; become root first")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open lab %q: %w", dir, err)
	}
	for _, sub := range []string{"bin", "logs"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("open lab: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lab: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("open lab %q: another benchmark or end-to-end test uses it: %w", dir, err), lock.Close())
	}
	run, err := os.MkdirTemp("", "lab")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open lab: %w", err), lock.Close())
	}
	return &Lab{dir: dir, run: run, log: log, lock: lock}, nil
}

// Close stops the daemons, the last started first, and removes the state of this run.
func (l *Lab) Close() error {
	var errs []error
	for len(l.daemons) > 0 {
		last := len(l.daemons) - 1
		errs = append(errs, l.daemons[last].stop())
		l.daemons = l.daemons[:last]
	}
	errs = append(errs, unmountBelow(l.run), os.RemoveAll(l.run), l.lock.Close())
	return errors.Join(errs...)
}

// Dir returns a directory of that name in the lab, emptied.
func (l *Lab) Dir(name string) (string, error) {
	dir := filepath.Join(l.dir, name)
	if err := errors.Join(unmountBelow(dir), os.RemoveAll(dir)); err != nil {
		return "", fmt.Errorf("empty %q: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("create %q: %w", dir, err)
	}
	return dir, nil
}

func (l *Lab) logf(format string, arguments ...any) {
	fmt.Fprintf(l.log, "lab: "+format+"\n", arguments...)
}

// Trowel compiles the trowel of this source tree and returns the path of the binary.
func (l *Lab) Trowel(ctx context.Context) (string, error) {
	root, err := SourceRoot()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(l.dir, "bin", "trowel")
	l.logf("make build")
	cmd := exec.CommandContext(ctx, "make", "build", "BIN="+binary)
	cmd.Dir = root
	if _, err := output(cmd); err != nil {
		return "", fmt.Errorf("compile trowel: %w", err)
	}
	return binary, nil
}

// Image makes Trowel's own container image with a shell, for the platforms, and returns the OCI archive that it is in.
func (l *Lab) Image(ctx context.Context, platforms string) (string, error) {
	root, err := SourceRoot()
	if err != nil {
		return "", err
	}
	archive := filepath.Join(l.dir, "image.tar")
	l.logf("make image")
	cmd := exec.CommandContext(ctx, "make", "image", "TARGET=debug", "PLATFORMS="+platforms, "OUTPUT=type=oci,dest="+archive)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "TROWEL_CACHE_DIR="+filepath.Join(l.run, "cache")) // nothing is taken from an earlier one
	if _, err := output(cmd); err != nil {
		return "", fmt.Errorf("make the container image: %w", err)
	}
	return archive, nil
}

// SourceRoot returns the root of the source tree that this package was compiled from.
func SourceRoot() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(file), "..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); !ok || err != nil {
		return "", fmt.Errorf("find the source tree: no go.mod in %q; compile without -trimpath, in the tree", root)
	}
	return root, nil
}

// tools are the commands a lab uses and the Debian packages they are in.
var tools = map[string]string{
	"buildah":    "buildah",
	"dockerd":    "docker.io",
	"docker":     "docker.io",
	"git":        "git",
	"mmdebstrap": "mmdebstrap",
	"npm":        "npm",
	"rsync":      "rsync",
	"runc":       "runc",
	"skopeo":     "skopeo",
	"umoci":      "umoci",
	"setcap":     "libcap2-bin",
	emulator:     "qemu-user-static",
}

// Install installs what is missing of the commands by apt.
func (l *Lab) Install(ctx context.Context, commands ...string) error {
	var packages []string
	for _, command := range commands {
		if _, err := exec.LookPath(command); err == nil {
			continue
		}
		name, ok := tools[command]
		if !ok {
			panic("lab: no package is known for the command " + command)
		}
		packages = append(packages, name)
	}
	if len(packages) == 0 {
		return nil
	}
	l.logf("apt-get install %s", strings.Join(packages, " "))
	install := append([]string{"install", "-y", "--no-install-recommends"}, packages...)
	for _, arguments := range [][]string{{"update"}, install} {
		cmd := exec.CommandContext(ctx, "apt-get", arguments...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if _, err := output(cmd); err != nil {
			return fmt.Errorf("install %s: %w", strings.Join(packages, ", "), err)
		}
	}
	return nil
}

// unmountBelow detaches what is mounted below dir: a daemon that was killed leaves its mounts.
func unmountBelow(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	var points []string
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], dir+"/") {
			points = append(points, fields[1])
		}
	}
	var errs []error
	for i := len(points) - 1; i >= 0; i-- {
		if err := unix.Unmount(points[i], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %q: %w", points[i], err))
		}
	}
	return errors.Join(errs...)
}
