package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/testdata/boximage"
)

const (
	envSetUp = "TROWEL_TEST_SET_UP" // become another user first: see becomeUser
	envShell = "TROWEL_TEST_SHELL"  // the shell of the base image, already built

	envContainer = "TROWEL_TEST_CONTAINER" // these are the tests in a container: see enterContainer
)

func goArch() string { return runtime.GOARCH }

// The users that the scenarios run as besides whoever started the tests.
const (
	userManyIDs = "many IDs" // an ordinary user that /etc/subuid gives IDs
	userOneID   = "one ID"   // one that has its own alone
	userNone    = "none"     // root without a right to anything, where user namespaces are forbidden
)

// TestScriptsAsOthers runs the scenarios again as other users, where root may become them.
func TestScriptsAsOthers(t *testing.T) {
	t.Parallel()
	if os.Getenv(envShell) != "" || os.Getuid() != 0 || !manyIDs() {
		return // this is the user
	}
	h := newHousehold(t, "testdata/script")
	for _, name := range []string{"steps", "plugins/jsonnet", "early"} {
		module, err := compilePlugin("wasm", name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(h.dir, "bin", compiledName("wasm", name)), module, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range []string{userManyIDs, userOneID, userNone} {
		t.Run(user, func(t *testing.T) { h.test(t, user, "^TestScripts$", "10m") })
	}
}

// household is a directory from which other users can run tests of this program.
type household struct{ dir, program, shell string }

// newHousehold makes one that has some directories of the repository.
func newHousehold(t *testing.T, trees ...string) household {
	t.Helper()
	dir, err := os.MkdirTemp("", "as-user-") // t.TempDir's parents are root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	h := household{dir: dir, program: filepath.Join(dir, "bin", "tests"), shell: filepath.Join(dir, "bin", "sh")}
	for _, d := range []string{"bin", "cmd/trowel", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Join(dir, "tmp"), 0o1777)); err != nil {
		t.Fatal(err)
	}
	for _, tree := range trees {
		if err := os.CopyFS(filepath.Join(dir, tree), os.DirFS(filepath.Join("../..", tree))); err != nil {
			t.Fatal(err)
		}
	}
	if err := boximage.Compile(t.Context(), "../..", h.shell); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return h
}

// test runs tests as a user.
func (h household) test(t *testing.T, user, pattern, timeout string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), h.program, "-test.run="+pattern, "-test.count=1", "-test.timeout="+timeout)
	cmd.Dir = filepath.Join(h.dir, "cmd/trowel")
	cmd.Env = append(os.Environ(), envShell+"="+h.shell, envSetUp+"="+user, envPlugins+"="+filepath.Join(h.dir, "bin"), "TMPDIR="+filepath.Join(h.dir, "tmp"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if user == userNone {
		only := []syscall.SysProcIDMap{{Size: 1}}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: only, GidMappings: only}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// becomeUser becomes a user and starts this program once more.
func becomeUser(user string) error {
	var err error
	switch user {
	case userManyIDs:
		err = errors.Join(giveIDs(4321), become(4321))
	case userOneID:
		err = become(4322)
	case userNone:
		err = loseRights()
	case userContainer:
		err = enterContainer()
	case userDisposable:
		err = enterDisposable()
	}
	if err != nil {
		return err
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, envSetUp+"=") })
	program := "/proc/self/exe"
	switch user {
	case userContainer:
		env = append(env, envContainer+"=1")
	case userDisposable:
		program = jobProgram
	}
	return syscall.Exec(program, os.Args, env)
}

func become(id int) error {
	return errors.Join(syscall.Setgroups(nil), syscall.Setgid(id), syscall.Setuid(id))
}

// giveIDs gives a user IDs in this mount namespace alone.
func giveIDs(id int) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"/etc/passwd": string(passwd) + fmt.Sprintf("trowel-tester:x:%d:%d::/:/bin/sh\n", id, id),
		"/etc/subuid": "trowel-tester:200000:65536\n",
		"/etc/subgid": "trowel-tester:200000:65536\n",
	} {
		if err := mountOver(name, text); err != nil {
			return fmt.Errorf("replace %s: %w", name, err)
		}
	}
	return nil
}

// loseRights forbids user namespaces below this one, and makes sure that the next program has no capabilities.
func loseRights() error {
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		return err
	}
	runtime.LockOSThread() // the bounding set is the thread's, and execve keeps that of the one that calls it
	for c := uintptr(0); ; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // past the last
		}
		if err != nil {
			return err
		}
	}
}

// mountOver mounts a file with other content over one of the system.
func mountOver(name, text string) error {
	f, err := os.CreateTemp("", "etc-")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	if _, err := os.Stat(name); errors.Is(err, os.ErrNotExist) {
		return nil // no newuidmap either, then
	}
	return errors.Join(unix.Mount(f.Name(), name, "", unix.MS_BIND, ""), os.Remove(f.Name()))
}
