package executor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// setUp prepares a machine, for an ordinary user or with a masked /proc as containers have it, and becomes the tests again.
// It returns only an error.
func setUp(what string) error {
	if strings.HasPrefix(what, "container") {
		return enterContainer(what)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	const id = 4321
	for _, item := range strings.Fields(what) {
		switch item {
		case "user":
			if err := addUser(id); err != nil {
				return err
			}
		case "mask":
			if err := unix.Mount("/dev/null", "/proc/version", "", unix.MS_BIND, ""); err != nil {
				return err
			}
		}
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, envSetUp+"=") })
	if strings.Contains(what, "user") {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(id), syscall.Setuid(id)); err != nil {
			return err
		}
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(env, "TROWEL_TEST_MASKED="+what))
}

// addUser adds one in this mount namespace, with IDs of its own.
func addUser(id int) error {
	dir, err := os.MkdirTemp("", "etc")
	if err != nil {
		return err
	}
	for _, d := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=/etc,upperdir=%s/upper,workdir=%s/work", dir, dir)
	if err := unix.Mount("overlay", "/etc", "overlay", 0, options); err != nil {
		return err
	}
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile("/etc/passwd", fmt.Appendf(passwd, "trowel-tester:x:%d:%d::/:/bin/sh\n", id, id), 0o644),
		os.WriteFile("/etc/subuid", []byte("other:1:1\ntrowel-tester:200000:65000\ntrowel-tester:300000:536\n"), 0o644),
		os.WriteFile("/etc/subgid", fmt.Appendf(nil, "%d:200000:65536\n", id), 0o644),
		os.RemoveAll(filepath.Join(dir, "work")), // the rest is the mount's
	)
}

// nested is a program that enters a user namespace first, as the CLI does.
func nested(what string) int {
	if what == "probe" {
		return printProbe()
	}
	if !launcher.inside {
		code, err := launcher.EnterUserNamespace(context.Background(), []string{"one", "two words"})
		if err != nil {
			fmt.Println(err)
			return 99
		}
		return code
	}
	fmt.Printf("%q %s\n", os.Args[1:], filepath.Base(os.Args[0]))
	if what == "wait" {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, unix.SIGTERM)
		fmt.Println("ready")
		fmt.Println(<-signals)
	}
	return 42
}

func startNested(t *testing.T, what string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), envNested+"="+what)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return cmd, bufio.NewReader(out)
}

func TestEnterUserNamespace(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	must(t, err)
	first := fmt.Sprintf("[\"one\" \"two words\"] %s\n", filepath.Base(self))
	t.Run("arguments and exit code", func(t *testing.T) {
		t.Parallel()
		cmd, out := startNested(t, "exit")
		text, err := io.ReadAll(out)
		must(t, err)
		_ = cmd.Wait()
		if diff := cmp.Diff(first, string(text)); diff != "" || cmd.ProcessState.ExitCode() != 42 {
			t.Errorf("exit code %d, output %s", cmd.ProcessState.ExitCode(), diff)
		}
	})
	t.Run("signal", func(t *testing.T) {
		t.Parallel()
		cmd, out := startNested(t, "wait")
		expectLines(t, out, first, "ready\n")
		must(t, cmd.Process.Signal(unix.SIGTERM))
		expectLines(t, out, "terminated\n")
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 42 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		cmd, out := startNested(t, "wait")
		expectLines(t, out, first, "ready\n")
		must(t, cmd.Process.Kill())
		if text, err := io.ReadAll(out); err != nil || len(text) > 0 { // ends when the program inside does
			t.Errorf("%q, %v", text, err)
		}
		_ = cmd.Wait()
	})
}

func expectLines(t *testing.T, r *bufio.Reader, want ...string) {
	t.Helper()
	for _, w := range want {
		if line, err := r.ReadString('\n'); line != w {
			t.Errorf("got %q, %v; want %q", line, err, w)
		}
	}
}

func TestParseDelegated(t *testing.T) {
	t.Parallel()
	text := "alice:100000:65536\nbob:1:2\n1000:7:8\nalice:bad:1\nalice:1\nalice:9:0\n\nalice:200000:10\n"
	want := []idRange{{Outside: 100000, Count: 65536}, {Outside: 7, Count: 8}, {Outside: 200000, Count: 10}}
	if diff := cmp.Diff(want, parseDelegated(text, []string{"1000", "alice"})); diff != "" {
		t.Error(diff)
	}
	if got := parseDelegated(text, []string{"1001"}); got != nil {
		t.Errorf("another user gets %v", got)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	got, err := new(Launcher).Probe(t.Context(), dir)
	must(t, err)
	want := Report{Rung: RungNamespaces, Proc: ProcFresh, IDs: userNamespace(t).IDs, Attempts: []Attempt{{Rung: RungNamespaces, Proc: ProcFresh}}}
	if masked() {
		want.Proc = ProcBound
		want.Attempts = append(want.Attempts, Attempt{Rung: RungNamespaces, Proc: ProcBound})
		if len(got.Attempts) > 0 {
			var setup *SetupError
			if err := got.Attempts[0].Err; !errors.As(err, &setup) || err.Error() != "mount proc: operation not permitted" || setup.Hint == "" {
				t.Errorf("err = %v", err)
			}
			want.Attempts[0].Err = got.Attempts[0].Err
		}
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) })); diff != "" {
		t.Error(diff)
	}
	if left := entries(t, dir); left != nil {
		t.Errorf("the probe left %q", left)
	}
}

// TestProbeCancelled cancels the probe in a user namespace at moments all over its life: it is not there any more when it has
// returned, and nor is what it made.
func TestProbeCancelled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for after := range 40 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(after)*500*time.Microsecond)
		_, err := launcher.probeInside(ctx, dir)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v after %v", err, ctx)
		}
		if left := entries(t, dir); left != nil {
			t.Fatalf("the probe left %q", left)
		}
	}
}

func masked() bool { return strings.Contains(os.Getenv("TROWEL_TEST_MASKED"), "mask") }

// An ordinary user is told what was tried and what works.
func TestProbeOutside(t *testing.T) {
	t.Parallel()
	if !userNamespace(t).Initial {
		return // there is no way back to being ordinary
	}
	cmd := exec.CommandContext(t.Context(), ownProgram(t, "probing"))
	cmd.Env = append(os.Environ(), envNested+"=probe", "TMPDIR="+everybodysTemp(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	want := "user namespace fresh 1\n" +
		"namespaces fresh: clone mount of own executable: operation not permitted (" + hintPrivilege + ")\n" +
		"user namespace fresh: <nil> ()\n"
	if diff := cmp.Diff(want, string(out)); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

// printProbe is that user's program.
func printProbe() int {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	r, err := launcher.Probe(context.Background(), dir)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(r.Rung, r.Proc, r.IDs)
	for _, a := range r.Attempts {
		var setup *SetupError
		hint := ""
		if errors.As(a.Err, &setup) {
			hint = setup.Hint
		}
		fmt.Printf("%s %s: %v (%s)\n", a.Rung, a.Proc, a.Err, hint)
	}
	return 0
}
