package executor

import (
	"bytes"
	"context"
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
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// envContainer is set where the tests run as in a container that Docker makes unless told otherwise.
const envContainer = "TROWEL_TEST_CONTAINER"

// The containers.
const (
	containerDefault        = "container"
	containerWithoutSetpcap = "container -setpcap"
)

// mayChroot says whether these tests can do anything here: not in a user namespace, where no device can be made.
func mayChroot(t *testing.T) bool {
	t.Helper()
	ns := userNamespace(t)
	return ns.Initial && os.Getuid() == 0
}

// chrooted is a plain directory that holds the program as /bin/inside.
type chrooted struct {
	*testing.T
	root Plain
	dump string // of what is in the directory
}

func newChrooted(t *testing.T) *chrooted {
	t.Helper()
	tmp := t.TempDir()
	c := &chrooted{T: t, root: Plain{Dir: filepath.Join(tmp, "root"), Aside: filepath.Join(tmp, "aside")}}
	for _, d := range []string{"root/bin", "root/tmp", "root/etc", "root/dev/own", "root/sys", "aside"} {
		must(t, os.MkdirAll(filepath.Join(tmp, d), 0o755))
	}
	must(t, os.Chmod(filepath.Join(c.root.Dir, "tmp"), 0o777|os.ModeSticky))
	must(t, os.WriteFile(filepath.Join(c.root.Dir, "dev/own/file"), []byte("of the image"), 0o600))
	must(t, os.Symlink("/etc", filepath.Join(c.root.Dir, "proc")))
	copyProgram(t, filepath.Join(c.root.Dir, "bin/inside"))
	c.dump = c.files()
	return c
}

// files lists what is in the directory.
func (c *chrooted) files() string {
	c.Helper()
	var all strings.Builder
	must(c, filepath.WalkDir(c.root.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&all, "%s %s\n", strings.TrimPrefix(path, c.root.Dir), info.Mode())
		return nil
	}))
	return all.String()
}

func (c *chrooted) run(p Process) (string, error) { return c.runIn(c.Context(), p) }

func (c *chrooted) runIn(ctx context.Context, p Process) (string, error) {
	c.Helper()
	var out bytes.Buffer
	p.Stdout, p.Stderr = &out, &out
	_, err := launcher.RunPlain(ctx, RungChroot, c.root, p)
	if left := entries(c, c.root.Aside); len(left) > 0 {
		c.Errorf("left aside: %q", left)
	}
	return strings.TrimSuffix(out.String(), "\n"), err
}

func (c *chrooted) must(args ...string) string {
	c.Helper()
	out, err := c.run(command(args...))
	if err != nil {
		c.Fatalf("%q: %v\n%s", args, err, out)
	}
	return out
}

// unchanged demands that the directory holds what it held.
func (c *chrooted) unchanged() {
	c.Helper()
	if diff := cmp.Diff(c.dump, c.files()); diff != "" {
		c.Errorf("directory (-before +after):\n%s", diff)
	}
}

func TestChroot(t *testing.T) {
	t.Parallel()
	if !mayChroot(t) {
		return
	}
	c := newChrooted(t)
	if got := c.must("ls", "/"); got != "bin\ndev\netc\nproc\nsys\ntmp" {
		t.Errorf("root: %q", got)
	}
	p := command("id")
	p.User = User{UID: 1000, GID: 1001, Groups: []uint32{7}}
	if got, err := c.run(p); err != nil || got != "1000 1001 [7] 022" {
		t.Errorf("user: %q, %v", got, err)
	}
	if out, err := c.run(command("exit", "7")); !errors.As(err, new(*ExitError)) || err.Error() != "exit code 7" {
		t.Errorf("exit: %v %s", err, out)
	}
	if _, err := c.run(command("die")); err == nil || err.Error() != "killed by signal 31 (exit code 159)" {
		t.Errorf("signal: %v", err)
	}
	c.unchanged()
	c.must("write", "/tmp/new", "x")
	if got := c.files(); !strings.Contains(got, "/tmp/new -rw-r--r--\n") {
		t.Errorf("what the process wrote is not there:\n%s", got)
	}
}

// What takes a namespace is refused before anything runs, and so is a machine without the right.
func TestChrootRefuses(t *testing.T) {
	t.Parallel()
	if !mayChroot(t) {
		return
	}
	c := newChrooted(t)
	p := command("write", "/tmp/ran", "")
	p.Network = NetworkNone
	if _, err := c.run(p); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("without a network: %v", err)
	}
	if _, err := c.run(privileged("write", "/tmp/ran", "")); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("with the builder's privileges: %v", err)
	}
	c.unchanged()
}

// /dev has devices that work, /proc what can be known of the machine. Neither is left behind.
func TestChrootKernelDirs(t *testing.T) {
	t.Parallel()
	if !mayChroot(t) {
		return
	}
	c := newChrooted(t)
	c.must("write", "/dev/null", "gone")
	if got := c.must("cat", "/dev/null"); got != "" {
		t.Errorf("/dev/null holds %q", got)
	}
	if got := c.must("stat", "/dev/zero", "/dev/shm"); got != "/dev/zero 20666 1:5\n/dev/shm 41777 0:0" {
		t.Errorf("devices: %q", got)
	}
	for _, name := range []string{"/proc/cpuinfo", "/proc/meminfo", "/proc/sys/kernel/osrelease", "/proc/mounts", "/proc/self/mountinfo"} {
		if got := c.must("cat", name); got == "" {
			t.Errorf("%s is empty", name)
		}
	}
	// What is written there must not be lost in silence.
	for _, name := range []string{"/dev/stdout", "/dev/fd/1", "/proc/self/exe"} {
		if out, err := c.run(command("append", name, "text")); err == nil {
			t.Errorf("%s can be written to: %s", name, out)
		}
	}
	if got := c.must("ls", "/proc/self"); strings.Contains(got, "fd") || strings.Contains(got, "exe") {
		t.Errorf("/proc/self has %q", got)
	}
	c.unchanged()
}

// A process can move and remove what was laid, unlike a mount. What was covered comes back, and no device stays anywhere.
func TestChrootMovesKernelDirs(t *testing.T) {
	t.Parallel()
	if !mayChroot(t) {
		return
	}
	for name, args := range map[string][]string{
		"moved": {"mv", "/dev", "/moved"}, "moved into another": {"mv", "/proc", "/tmp/moved"}, "removed": {"rm", "/dev"},
		"removed, the other": {"rm", "/proc"}, "replaced": {"replace", "/dev"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newChrooted(t)
			c.must(args...)
			want := c.dump
			for _, empty := range []string{"/moved", "/tmp/moved"} {
				if err := os.Remove(filepath.Join(c.root.Dir, empty)); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Errorf("what was moved is not empty: %v", err)
				}
			}
			if diff := cmp.Diff(want, c.files()); diff != "" {
				t.Errorf("directory (-before +after):\n%s", diff)
			}
		})
	}
}

// The classic way out of a chroot takes a right that the process has not got, nor can get from a set-user-ID program.
func TestChrootHolds(t *testing.T) {
	t.Parallel()
	if !mayChroot(t) {
		return
	}
	marker := filepath.Join(t.TempDir(), "marker")
	must(t, os.WriteFile(marker, nil, 0o644))
	c := newChrooted(t)
	if got, err := c.run(command("escape", marker)); err == nil || !strings.Contains(got, "operation not permitted") {
		t.Errorf("escape: %v, %s", err, got)
	}
	text, err := os.ReadFile(inside)
	must(t, err)
	writeProgram(t, filepath.Join(c.root.Dir, "bin/super"), text)
	must(t, os.Chmod(filepath.Join(c.root.Dir, "bin/super"), 0o755|os.ModeSetuid))
	p := Process{Args: []string{"super", "mkdir", "/etc/by-root"}, Env: []string{"PATH=/bin"}, Dir: "/", User: User{UID: 1000, GID: 1000}}
	if got, err := c.run(p); err == nil {
		t.Errorf("a set-user-ID program made its caller root: %s", got)
	}
}

// The rights that are left are a container's without that of chroot, as far as the builder has them.
func TestChrootRights(t *testing.T) {
	t.Parallel()
	if !mayChroot(t) {
		return
	}
	rights, bounding, none := "a800_25fb", "a800_25fb", "0000_0000"
	if os.Getenv(envContainer) == containerWithoutSetpcap {
		rights, bounding = "a800_24fb", "a804_24fb" // the set cannot be changed; no_new_privs keeps it from being drawn on
	}
	want := fmt.Sprintf("permitted %s effective %s inheritable %s bounding %s ambient 0 no_new_privs 1", rights, rights, none, bounding)
	got := newChrooted(t).must("rights")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("root: %s", diff)
	}
	p := command("rights")
	p.User = User{UID: 1000, GID: 1000}
	got, err := newChrooted(t).run(p)
	want = strings.Replace(want, "permitted "+rights+" effective "+rights, "permitted "+none+" effective "+none, 1)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("user: %v, %s", err, diff)
	}
}

// The filter is that of the other rungs.
func TestChrootSystemCalls(t *testing.T) {
	t.Parallel()
	if !mayChroot(t) {
		return
	}
	got := newChrooted(t).must("calls")
	for _, line := range []string{"mount 1", "unshare newuser 1", "clone3 38", "keyctl 1", "bpf 1"} {
		if !strings.Contains(got+"\n", line+"\n") {
			t.Errorf("want %q in:\n%s", line, got)
		}
	}
}

// The builder's memory, environment and life are out of reach, and so are abstract sockets; descriptors are closed.
func TestChrootAttack(t *testing.T) {
	t.Parallel()
	if !mayChroot(t) {
		return
	}
	f, err := os.Open("/")
	must(t, err)
	defer f.Close()
	leaked, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD, 20) // no close-on-exec
	must(t, err)
	defer unix.Close(leaked)
	c := newChrooted(t)
	if got := c.must("descriptors"); got != "0 1 2" {
		t.Errorf("descriptors: %s", got)
	}
	got := c.must("attack", fmt.Sprint(os.Getpid()))
	if version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 || version < landlockScopes {
		got = strings.TrimSpace(strings.ReplaceAll(got, "signal", "")) // nothing else prevents it
	}
	if got != "" {
		t.Errorf("the process could: %s", got)
	}
}

// What a process leaves behind is killed, however it ends: by itself, or with the build.
func TestChrootBackground(t *testing.T) {
	t.Parallel()
	if !mayChroot(t) {
		return
	}
	c := newChrooted(t)
	lock := filepath.Join(c.root.Dir, "tmp/lock")
	free := func() {
		t.Helper()
		f, err := os.Open(lock)
		must(t, err)
		defer f.Close()
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			t.Errorf("somebody still has the lock: %v", err)
		}
	}
	must(t, os.WriteFile(lock, nil, 0o666))
	if got := c.must("background", "/tmp/lock"); got != "held" {
		t.Errorf("background: %q", got)
	}
	free()
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	time.AfterFunc(300*time.Millisecond, func() { cancel(enough) })
	if _, err := c.runIn(ctx, command("hold", "/tmp/lock")); !errors.Is(err, enough) {
		t.Errorf("cancelled: %v", err)
	}
	free()
	must(t, os.Remove(lock))
	c.unchanged()
}

// TestChrootInContainer runs these tests again with what Docker leaves to a container: no namespace, and a few rights.
func TestChrootInContainer(t *testing.T) {
	if os.Getenv(envInside) != "" || !mayChroot(t) {
		return // this is elsewhere
	}
	for name, what := range map[string]string{"default": containerDefault, "without SETPCAP": containerWithoutSetpcap} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), ownProgram(t, "tests-chroot"), "-test.run=^Test(Chroot|Container)", "-test.skip=^TestChrootEscape$", "-test.count=1", "-test.timeout=3m")
			cmd.Env = append(os.Environ(), envInside+"="+inside, "TMPDIR="+everybodysTemp(t), envSetUp+"="+what)
			cmd.Dir = "/"
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestContainer makes sure that the tests of TestChrootInContainer run where they are meant to.
func TestContainer(t *testing.T) {
	if os.Getenv(envContainer) == "" {
		return
	}
	err := unix.Unshare(unix.CLONE_NEWUSER)
	if !errors.Is(err, unix.EPERM) {
		t.Errorf("unshare: %v", err)
	}
	r, err := launcher.Probe(t.Context(), t.TempDir())
	if err != nil || r.Rung != RungNone {
		t.Errorf("probe: %+v, %v", r, err)
	}
	if err := launcher.ProbePlain(t.Context(), RungChroot, t.TempDir()); err != nil {
		t.Errorf("probe of chroot: %v", err)
	}
}

// enterContainer takes from this thread what a container has not got, and starts the tests again.
func enterContainer(what string) error {
	runtime.LockOSThread()
	rights := capabilities()
	if what == containerWithoutSetpcap {
		rights = slices.DeleteFunc(rights, func(c uint) bool { return c == unix.CAP_SETPCAP })
	}
	if err := errors.Join(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), filterCalls(), boundCapabilities(rights)); err != nil {
		return err
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, envSetUp+"=") })
	return syscall.Exec("/proc/self/exe", os.Args, append(env, envContainer+"="+what))
}
