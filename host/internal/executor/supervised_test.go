//go:build amd64

package executor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// newPlain makes a plain root directory that holds the program as /bin/inside.
func newPlain(t testing.TB) Plain {
	t.Helper()
	dir := t.TempDir()
	p := Plain{Dir: filepath.Join(dir, "root"), Aside: filepath.Join(dir, "aside")}
	for _, d := range []string{"root/bin", "root/etc", "root/tmp", "root/proc", "aside"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	must(t, os.Chmod(filepath.Join(p.Dir, "tmp"), 0o777|os.ModeSticky))
	must(t, os.WriteFile(filepath.Join(p.Dir, "etc/known"), []byte("known"), 0o644))
	copyProgram(t, filepath.Join(p.Dir, "bin/inside"))
	return p
}

func needsDevices(t testing.TB) {
	t.Helper()
	if !userNamespace(t).Initial {
		t.Skip("devices can be made in the first user namespace only, and so there is no supervised rung elsewhere")
	}
}

// tryThere runs the program and returns what it printed.
func tryThere(t testing.TB, root Plain, p Process) (string, error) {
	t.Helper()
	needsDevices(t)
	var out strings.Builder
	p.Stdout, p.Stderr = &out, &out
	_, err := launcher.RunPlain(t.Context(), RungSupervised, root, p)
	return strings.TrimSpace(out.String()), err
}

func mustThere(t testing.TB, root Plain, p Process) string {
	t.Helper()
	out, err := tryThere(t, root, p)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return out
}

// A step sees itself in /proc, what is general there, and nobody else.
func TestSupervisedProc(t *testing.T) {
	t.Parallel()
	root := newPlain(t)
	var processes []string
	for name := range strings.FieldsSeq(mustThere(t, root, command("ls", "/proc"))) {
		if name[0] >= '0' && name[0] <= '9' {
			processes = append(processes, name)
		}
	}
	if len(processes) != 1 {
		t.Errorf("processes %q", processes)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"cat", "/proc/self/comm"}, "inside"},
		{[]string{"cat", "/proc/thread-self/comm"}, "inside"},
		{[]string{"cat", "/proc/self/root/etc/known"}, "known"},
		{[]string{"cat", "/proc/self/cwd/etc/known"}, "known"},
		{[]string{"cat", "/usr/../proc/self/root/proc/self/root/etc/known"}, "known"},
		{[]string{"cat", "/proc/sys/kernel/ostype"}, "Linux"},
		{[]string{"link", "/proc/self/exe"}, "/bin/inside"},
		{[]string{"link", "/proc/self/root"}, "/"},
		{[]string{"link", "/proc/self/fd/0"}, "/dev/null"},
		{[]string{"write", "/dev/stdout", "by name"}, "by name"},
		{[]string{"self", "/proc/self/exe", "say", "again", ""}, "again"},
		{[]string{"self", "/proc/self/exe", "link", "/proc/self/exe"}, "/bin/inside"},
		{[]string{"self", "/proc/self/cwd/bin/inside", "say", "again", ""}, "again"},
	} {
		if got, err := tryThere(t, root, command(tt.args...)); err != nil || got != tt.want {
			t.Errorf("%q: got %q, %v, want %q", tt.args, got, err, tt.want)
		}
	}
	for _, path := range []string{
		"/proc/1/comm", "/proc/kcore", "/proc/kmsg", "/proc/keys", fmt.Sprintf("/proc/%d/environ", os.Getpid()),
		fmt.Sprintf("/proc/%d/root/etc/passwd", os.Getppid()), "/proc/self/root/../../etc/shadow", "/proc/self/cwd/../../etc/shadow",
	} {
		if got, err := tryThere(t, root, command("cat", path)); err == nil {
			t.Errorf("%s shows %q", path, got)
		}
	}
	for _, path := range []string{"/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/self/mounts"} {
		if got, err := tryThere(t, root, command("append", path, "x")); err == nil {
			t.Errorf("%s can be written: %q", path, got)
		}
	}
}

// Nothing of what a step was shown is left.
func TestSupervisedLeavesNothing(t *testing.T) {
	t.Parallel()
	root := newPlain(t)
	before := entries(t, root.Dir)
	mustThere(t, root, command("all", "ls", "/proc", ";", "ls", "/proc/self/task", ";", "write", "/dev/shm/x", "x"))
	if diff := cmp.Diff(before, entries(t, root.Dir)); diff != "" {
		t.Error(diff)
	}
	if left := entries(t, root.Aside); left != nil {
		t.Errorf("aside are %q", left)
	}
	if _, err := os.Stat(filepath.Join(root.Dir, "proc/self")); err == nil {
		t.Error("/proc is not the root's own again")
	}
}

// The builder's memory, environment, descriptors and life are out of reach, and so is what lies outside the root.
func TestSupervisedAttacks(t *testing.T) {
	t.Parallel()
	root := newPlain(t)
	if got := mustThere(t, root, command("attack", fmt.Sprint(os.Getpid()))); got != "" {
		t.Errorf("the step could: %s", got)
	}
	marker := filepath.Join(t.TempDir(), "marker")
	must(t, os.WriteFile(marker, nil, 0o644))
	if got, err := tryThere(t, root, command("escape", marker)); err == nil || strings.Contains(got, "escaped") {
		t.Errorf("chroot in the chroot: %q, %v", got, err)
	}
	if got := mustThere(t, root, command("climb", marker)); got != "" {
		t.Errorf("from a directory of /proc: %s", got)
	}
	for _, dir := range []string{"/proc/self/fd", "/proc/self/fd/4", "/proc/1/root"} {
		p := command("cwd")
		p.Dir = dir
		if got, err := tryThere(t, root, p); err == nil {
			t.Errorf("started in %s: %q", dir, got)
		}
	}
}

// A path that another thread rewrites during the call leads nowhere else than in the root.
func TestSupervisedRace(t *testing.T) {
	t.Parallel()
	marker := filepath.Join(t.TempDir(), "marker")
	must(t, os.WriteFile(marker, []byte("outside"), 0o644))
	root := newPlain(t)
	paths := []string{"/proc/self/root/etc/known", fmt.Sprintf("/proc/%d/root%s", os.Getpid(), marker), "/proc/self/comm", marker}
	if got := mustThere(t, root, command(append([]string{"race"}, paths...)...)); got != "" {
		t.Errorf("read %q", got)
	}
}

// Many callers at a time, some of them killed while they wait, and one that opens a pipe without a writer.
func TestSupervisedStorm(t *testing.T) {
	t.Parallel()
	root := newPlain(t)
	if got := mustThere(t, root, command("storm")); got != "4000 read" {
		t.Errorf("got %q", got)
	}
	if got := mustThere(t, root, command("fifo", "/tmp/fifo")); got != "not stalled, then opened" {
		t.Errorf("got %q", got)
	}
}

// A process that lets nobody read its memory has no /proc, but all else.
func TestSupervisedUndumpable(t *testing.T) {
	t.Parallel()
	if got := mustThere(t, newPlain(t), command("undumpable")); got != "known; no /proc" {
		t.Errorf("got %q", got)
	}
}

// Nothing that the builder has open comes along.
func TestSupervisedDescriptors(t *testing.T) {
	t.Parallel()
	f, err := os.Open("/")
	must(t, err)
	defer f.Close()
	leaked, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD, 20) // not closed at execve
	must(t, err)
	defer unix.Close(leaked)
	var got []string
	for line := range strings.Lines(mustThere(t, newPlain(t), command("links", "/proc/self/fd"))) {
		fd, target, _ := strings.Cut(strings.TrimSpace(line), " ")
		kind, _, _ := strings.Cut(target, ":")
		if kind != "anon_inode" { // what the Go runtime watches
			got = append(got, fd+" "+kind)
		}
	}
	if diff := cmp.Diff([]string{"0 /dev/null", "1 pipe", "2 pipe"}, got); diff != "" {
		t.Error(diff)
	}
}

// An image whose /proc and /dev lead elsewhere changes nothing there, and gets its links back.
func TestSupervisedLinks(t *testing.T) {
	t.Parallel()
	root, outside := newPlain(t), t.TempDir()
	must(t, os.Remove(filepath.Join(root.Dir, "proc")))
	for _, name := range []string{"proc", "dev"} {
		must(t, os.Symlink(outside, filepath.Join(root.Dir, name)))
	}
	if got := mustThere(t, root, command("all", "cat", "/proc/self/comm", ";", "write", "/dev/null", "x")); got != "inside" {
		t.Errorf("got %q", got)
	}
	if left := entries(t, outside); left != nil {
		t.Errorf("outside are %q", left)
	}
	for _, name := range []string{"proc", "dev"} {
		if target, err := os.Readlink(filepath.Join(root.Dir, name)); err != nil || target != outside {
			t.Errorf("%s leads to %q, %v", name, target, err)
		}
	}
}

// A socket without a file, which is the builder's, cannot be reached.
func TestSupervisedAbstractSocket(t *testing.T) {
	t.Parallel()
	if version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 || version < landlockScopes {
		t.Skip("before Linux 6.12 nothing keeps a process from it in the same network")
	}
	name := fmt.Sprintf("@trowel-test-%d", os.Getpid())
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", name)
	must(t, err)
	defer l.Close()
	if got, err := tryThere(t, newPlain(t), command("connect", name)); err == nil || !strings.Contains(got, "operation not permitted") {
		t.Errorf("connected: %q, %v", got, err)
	}
}

// Another user sees its own process, and not what only root may.
func TestSupervisedUser(t *testing.T) {
	t.Parallel()
	root := newPlain(t)
	must(t, os.WriteFile(filepath.Join(root.Dir, "etc/secret"), []byte("root's"), 0o600))
	user := func(args ...string) Process {
		p := command(args...)
		p.User = User{UID: 1000, GID: 1000, Groups: []uint32{7}}
		return p
	}
	if got := mustThere(t, root, user("cat", "/proc/self/comm")); got != "inside" {
		t.Errorf("got %q", got)
	}
	if got := mustThere(t, root, user("write", "/dev/stdout", "said")); got != "said" {
		t.Errorf("got %q", got)
	}
	for _, path := range []string{"/proc/self/root/etc/secret", "/proc/self/cwd/etc/secret"} {
		if got, err := tryThere(t, root, user("cat", path)); err == nil {
			t.Errorf("%s shows %q", path, got)
		}
	}
}

// A file that would give its runner more rights is run without them, and the user is told.
func TestSupervisedElevation(t *testing.T) {
	t.Parallel()
	root := newPlain(t)
	program, err := os.ReadFile(inside)
	must(t, err)
	path := filepath.Join(root.Dir, "bin/elevated")
	writeProgram(t, path, program)
	must(t, os.Chmod(path, 0o755|os.ModeSetuid))
	var notices []string
	p := command("run", "/bin/elevated", "id")
	p.User = User{UID: 1000, GID: 1000}
	p.Notice = func(text string) { notices = append(notices, text) }
	if got := mustThere(t, root, p); !strings.HasPrefix(got, "1000 1000") {
		t.Errorf("it ran as %q", got)
	}
	if all := strings.Join(notices, "\n"); !strings.Contains(all, `"/bin/elevated" was run by user 1000`) || !strings.Contains(all, "set-user-ID") {
		t.Errorf("notices %q", all)
	}
}

// What the command leaves behind is killed, though it has left its session.
func TestSupervisedBackground(t *testing.T) {
	t.Parallel()
	root := newPlain(t)
	lock := filepath.Join(root.Dir, "tmp/lock")
	must(t, os.WriteFile(lock, nil, 0o644))
	if got := mustThere(t, root, command("background", "/tmp/lock")); got != "held" {
		t.Errorf("got %q", got)
	}
	wantUnlocked(t, lock)
}

func wantUnlocked(t *testing.T, lock string) {
	t.Helper()
	f, err := os.Open(lock)
	must(t, err)
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("a process of the step lives on: %v", err)
	}
}

// When the server is killed the step ends too, and the error says why. When the step is cancelled nothing is left.
func TestSupervisedServerKilled(t *testing.T) {
	t.Parallel()
	needsDevices(t)
	for _, tt := range []struct {
		name string
		end  func(cancel func(), server int)
		want string
	}{
		{"server", func(_ func(), server int) { must(t, unix.Kill(server, unix.SIGKILL)) }, errServerEnded.Error()},
		{"cancelled", func(cancel func(), _ int) { cancel() }, context.Canceled.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			root := newPlain(t)
			lock := filepath.Join(root.Dir, "tmp/lock")
			must(t, os.WriteFile(lock, nil, 0o644))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p := command("background", "/tmp/lock")
			p.Args = []string{"/bin/inside", "all", "background", "/tmp/lock", ";", "hold", "/tmp"}
			held := make(chan struct{})
			p.Stdout = writerFunc(func(text []byte) (int, error) {
				if strings.Contains(string(text), "held") {
					select {
					case <-held:
					default:
						close(held)
					}
				}
				return len(text), nil
			})
			done := make(chan error, 1)
			go func() {
				_, err := launcher.RunPlain(ctx, RungSupervised, root, p)
				done <- err
			}()
			select {
			case <-held:
			case err := <-done:
				t.Fatal(err)
			}
			tt.end(cancel, serverOf(t, root))
			select {
			case err := <-done:
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the step did not end")
			}
			wantUnlocked(t, lock)
		})
	}
}

// serverOf finds the server that is in a root.
func serverOf(t *testing.T, root Plain) int {
	t.Helper()
	for _, server := range processesNamed(t, "trowel-serve") {
		if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/root", server)); err == nil && dir == root.Dir {
			return server
		}
	}
	t.Fatal("no server")
	return 0
}

// processesNamed are those of a name, by their arguments.
func processesNamed(t *testing.T, name string) []int {
	t.Helper()
	all, err := os.ReadDir("/proc")
	must(t, err)
	var found []int
	for _, p := range all {
		args, err := os.ReadFile("/proc/" + p.Name() + "/cmdline")
		pid := 0
		if _, scanErr := fmt.Sscan(p.Name(), &pid); err == nil && scanErr == nil && strings.HasPrefix(string(args), name+"\x00") {
			found = append(found, pid)
		}
	}
	return found
}

// What this rung cannot give is refused before anything runs.
func TestSupervisedRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Process){
		"network":    func(p *Process) { p.Network = NetworkNone },
		"privileges": func(p *Process) { p.Privileges = PrivilegesBuilder },
		"directory":  func(p *Process) { p.Dir = "/proc/self" },
	} {
		p := command("true")
		change(&p)
		_, err := tryThere(t, newPlain(t), p)
		if setup := (*SetupError)(nil); !errors.As(err, &setup) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
