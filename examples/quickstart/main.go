// Command quickstart shows Trowel at work on this machine alone: it starts a registry, makes a small base image, builds the
// image in app, pushes it, looks at what is in the registry, and builds once more to show what a cached build costs.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	trowel := flag.String("trowel", "bin/trowel", "the trowel `PROGRAM`")
	flag.Parse()
	if err := run(*trowel); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// show runs trowel with everything it says on the terminal.
type show struct {
	trowel, cache string
}

func run(trowel string) (err error) {
	trowel, err = filepath.Abs(trowel)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "trowel-quickstart-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	registry, stop, err := startRegistry(trowel)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	s := show{trowel: trowel, cache: filepath.Join(dir, "cache")}
	const app = "examples/quickstart/app"
	image := registry + "/quickstart/app:1"
	build := []string{"build", "--push", "-t", image}
	if base, why := s.makeBase(dir, registry); why != nil {
		fmt.Printf("\nNo base with a shell (%v): building without RUN instead.\n", why)
		build = append(build, "-f", app+"/scratch.Dockerfile", app)
	} else {
		build = append(build, "--build-arg", "BASE="+base, app)
	}
	first, err := s.timed(build...)
	if err != nil {
		return err
	}
	fmt.Println("\nWhat the registry has:")
	if err := s.run("inspect", image); err != nil {
		return err
	}
	if err := s.filesOf(image); err != nil {
		return err
	}
	fmt.Println("\nThe same build again, every step from the cache:")
	second, err := s.timed(build...)
	if err != nil {
		return err
	}
	fmt.Printf("\nFirst build %v, second build %v.\n", first.Round(time.Millisecond), second.Round(time.Millisecond))
	return nil
}

// startRegistry starts the registry that comes with trowel, on a free port.
func startRegistry(trowel string) (address string, stop func() error, err error) {
	cmd := exec.Command(trowel, "registry", "serve", "--listen", "127.0.0.1:0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start the registry: %w", err)
	}
	stop = func() error {
		return errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait())
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("start the registry: %w", err), stop())
	}
	return strings.TrimSpace(line), stop, nil
}

// makeBase builds a base image around busybox. It fails where there is none, or where no process can be run.
func (s show) makeBase(dir, registry string) (string, error) {
	if err := exec.Command(s.trowel, "doctor", "--work-dir", filepath.Join(dir, "doctor")).Run(); err != nil {
		return "", errors.New("RUN does not work here; see trowel doctor")
	}
	busybox, err := findBusybox(dir)
	if err != nil {
		return "", err
	}
	context := filepath.Join(dir, "base")
	if err := os.Mkdir(context, 0o755); err != nil {
		return "", err
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(context, "busybox"), program, 0o755); err != nil {
		return "", err
	}
	base := registry + "/quickstart/base:1"
	return base, s.run("build", "--cache-dir", s.cache, "--push", "-t", base, "-f", "examples/quickstart/base.Dockerfile", context)
}

// findBusybox finds Debian's static busybox, or fetches its package with apt without installing it.
func findBusybox(dir string) (string, error) {
	const installed = "/bin/busybox"
	if out, err := exec.Command("ldd", installed).CombinedOutput(); err != nil && strings.Contains(string(out), "not a dynamic executable") {
		return installed, nil
	}
	download := exec.Command("apt-get", "download", "busybox-static")
	download.Dir = dir
	if out, err := download.CombinedOutput(); err != nil {
		// A new machine has no package lists.
		if update, updateErr := exec.Command("apt-get", "update").CombinedOutput(); updateErr != nil {
			return "", fmt.Errorf("apt has no busybox-static: %s%s", out, update)
		}
		download = exec.Command("apt-get", "download", "busybox-static")
		download.Dir = dir
		if out, err := download.CombinedOutput(); err != nil {
			return "", fmt.Errorf("apt has no busybox-static: %s", out)
		}
	}
	packages, err := filepath.Glob(filepath.Join(dir, "busybox-static_*.deb"))
	if err != nil || len(packages) == 0 {
		return "", errors.New("apt downloaded nothing")
	}
	if out, err := exec.Command("dpkg-deb", "-x", packages[0], filepath.Join(dir, "package")).CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack busybox-static: %s", out)
	}
	for _, at := range []string{"bin/busybox", "usr/bin/busybox"} {
		if name := filepath.Join(dir, "package", at); exists(name) {
			return name, nil
		}
	}
	return "", errors.New("busybox-static has no busybox")
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// filesOf pulls the image and lists the files that the build added.
func (s show) filesOf(image string) error {
	out, err := exec.Command(s.trowel, "inspect", "--files", image).Output()
	if err != nil {
		return fmt.Errorf("inspect %s: %w", image, err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "file") && !strings.Contains(line, "-> /bin/busybox") {
			fmt.Print(line)
		}
	}
	return nil
}

func (s show) timed(args ...string) (time.Duration, error) {
	start := time.Now()
	err := s.run(append(args, "--cache-dir", s.cache)...)
	return time.Since(start), err
}

func (s show) run(args ...string) error {
	fmt.Println("\n$ trowel", strings.Join(args, " "))
	cmd := exec.Command(s.trowel, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("trowel %s: %w", args[0], err)
	}
	return nil
}
