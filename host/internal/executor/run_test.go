package executor

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/identity"
)

func TestExit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want *ExitError
	}{
		{[]string{"true"}, nil},
		{[]string{"exit", "1"}, &ExitError{Code: 1}},
		{[]string{"exit", "137"}, &ExitError{Code: 137}},
		{[]string{"die"}, &ExitError{Code: 128 + int(unix.SIGSYS), Signal: int(unix.SIGSYS)}},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			t.Parallel()
			_, err := outputOf(t, newRootfs(t, 1), command(tt.args...))
			var got *ExitError
			if err != nil && !errors.As(err, &got) {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	r := newRootfs(t, 2)
	must(t, os.MkdirAll(base(r)+"/srv/app", 0o755))
	for _, tt := range []struct {
		name, want string
		change     func(*Process)
		args       []string
	}{
		{"variables are all and only those given, bytes included", "PATH=/bin\nA=1\nB=\xff x", func(p *Process) { p.Env = append(p.Env, "A=1", "B=\xff x") }, []string{"env"}},
		{"directory", "/srv/app", func(p *Process) { p.Dir = "/srv/app" }, []string{"cwd"}},
		{"host name", "somewhere", func(p *Process) { p.Hostname = "somewhere" }, []string{"host"}},
		{"root, no groups, umask", "0 0 [] 022", func(*Process) {}, []string{"id"}},
		{"null input", "", func(*Process) {}, []string{"cat", "/dev/stdin"}},
		{"input is the step's own", "same", func(*Process) {}, []string{"same", "/dev/stdin", "/dev/null"}},
		{"PID 1", "inside", func(*Process) {}, []string{"cat", "/proc/self/comm"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := command(tt.args...)
			tt.change(&p)
			if diff := cmp.Diff(tt.want, mustOutput(t, r, p)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	r := newRootfs(t, 1)
	p := command("id")
	p.User = User{UID: 1234, GID: 56, Groups: []uint32{78, 90}}
	if got := mustOutput(t, r, p); got != "1234 56 [78 90] 022" {
		t.Errorf("id = %q", got)
	}
	p.Args = []string{"inside", "write", "/dev/stdout", "through the link"}
	if got := mustOutput(t, r, p); got != "through the link" {
		t.Errorf("a user's /dev/stdout gave %q", got)
	}
	p.Args = []string{"inside", "write", "/tmp/mine", ""}
	mustOutput(t, r, p)
	var st unix.Stat_t
	must(t, unix.Stat(r.Upper+"/tmp/mine", &st))
	owner := identity.Owner{UID: st.Uid, GID: st.Gid}
	if userNamespace(t).IDs == 1 {
		var value [64]byte
		n, err := unix.Getxattr(r.Upper+"/tmp/mine", identity.Attribute, value[:])
		must(t, err)
		owner, err = identity.ParseOwner(string(value[:n]))
		must(t, err)
	}
	if want := (identity.Owner{UID: 1234, GID: 56}); owner != want {
		t.Errorf("file is %s's", owner)
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	var stdout, stderr strings.Builder
	p := command("say", "out", "err")
	p.Stdout, p.Stderr = &stdout, &stderr
	must(t, launcher.Run(t.Context(), newRootfs(t, 1), p))
	if stdout.String() != "out" || stderr.String() != "err" {
		t.Errorf("stdout %q, stderr %q", &stdout, &stderr)
	}
}

// A writer that fails must not stop the process, and must be told of.
func TestOutputFails(t *testing.T) {
	t.Parallel()
	p := command("cat", "/bin/inside") // more than a pipe holds
	p.Stdout = failingWriter{}
	err := launcher.Run(t.Context(), newRootfs(t, 1), p)
	var exit *ExitError
	if !errors.Is(err, errFull) || errors.As(err, &exit) {
		t.Errorf("err = %v", err)
	}
}

var errFull = errors.New("full")

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errFull }

func TestCommandNotStarted(t *testing.T) {
	t.Parallel()
	r := newRootfs(t, 1)
	for name, text := range map[string]string{"script": "#!/bin/missing\n", "garbage": "\x7fELF garbage"} {
		writeProgram(t, base(r)+"/bin/"+name, []byte(text))
	}
	must(t, os.WriteFile(base(r)+"/bin/data", nil, 0o644))
	for _, tt := range []struct {
		name, want string
		change     func(*Process)
		errno      unix.Errno
		hint       string
	}{
		{"not in PATH", `exec "nothing": not found in PATH`, func(p *Process) { p.Args[0] = "nothing" }, unix.ENOENT, ""},
		{"path", `exec "/bin/nothing": no such file or directory`, func(p *Process) { p.Args[0] = "/bin/nothing" }, unix.ENOENT, ""},
		{"interpreter", `exec "/bin/script": no such file or directory`, func(p *Process) { p.Args[0] = "/bin/script" }, unix.ENOENT, "interpreter"},
		{"format", `exec "garbage": exec format error`, func(p *Process) { p.Args[0] = "garbage" }, unix.ENOEXEC, "architecture"},
		{"not executable", `exec "data": permission denied`, func(p *Process) { p.Args[0] = "data" }, unix.EACCES, ""},
		{"directory as command", `exec "/etc": permission denied`, func(p *Process) { p.Args[0] = "/etc" }, unix.EACCES, "execute permission"},
		{"working directory", `enter working directory "/proc/nowhere": no such file or directory`, func(p *Process) { p.Dir = "/proc/nowhere" }, unix.ENOENT, ""},
		{"mount target", `open mount target "/nowhere": no such file or directory`, func(p *Process) {
			p.Mounts = []Mount{{Kind: MountTmpfs, Target: "/nowhere"}}
		}, unix.ENOENT, ""},
		{"mount source", `open mount source "/nowhere": no such file or directory`, func(p *Process) {
			p.Mounts = []Mount{{Kind: MountBind, Source: "/nowhere", Target: "/tmp"}}
		}, unix.ENOENT, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := command("true")
			tt.change(&p)
			_, err := outputOf(t, r, p)
			var setup *SetupError
			if !errors.As(err, &setup) || err.Error() != tt.want || !errors.Is(err, tt.errno) {
				t.Fatalf("err = %v, want %s", err, tt.want)
			}
			if (tt.hint == "") != (setup.Hint == "") || !strings.Contains(setup.Hint, tt.hint) {
				t.Errorf("hint = %q", setup.Hint)
			}
		})
	}
	if got := entries(t, r.Upper); got != nil {
		t.Errorf("upper holds %q", got)
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*Rootfs, *Process)
	}{
		{"no command", func(_ *Rootfs, p *Process) { p.Args = nil }},
		{"relative directory", func(_ *Rootfs, p *Process) { p.Dir = "x" }},
		{"NUL in a variable", func(_ *Rootfs, p *Process) { p.Env = []string{"SECRET=hush\x00"} }},
		{"network", func(_ *Rootfs, p *Process) { p.Network = "bridge" }},
		{"proc", func(_ *Rootfs, p *Process) { p.Proc = "none" }},
		{"mount on the root", func(_ *Rootfs, p *Process) { p.Mounts = []Mount{{Kind: MountTmpfs, Target: "/./"}} }},
		{"mount kind", func(_ *Rootfs, p *Process) { p.Mounts = []Mount{{Kind: "ext4", Target: "/x"}} }},
		{"no layers", func(r *Rootfs, _ *Process) { r.Lowers = nil }},
		{"option in a layer's name", func(r *Rootfs, _ *Process) { r.Lowers = []string{"a,upperdir=b"} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, p := newRootfs(t, 1), command("true")
			tt.change(&r, &p)
			_, err := outputOf(t, r, p)
			if err == nil || strings.Contains(err.Error(), "hush") {
				t.Errorf("err = %v", err)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	r := newRootfs(t, 1)
	lock := lockFile(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	p := command("all", "background", "/tmp/lock", ";", "say", "ready", "", ";", "hold", "/etc/hosts")
	p.Mounts = []Mount{{Kind: MountBind, Source: lock, Target: "/etc/resolv.conf"}}
	p.Args[3] = "/etc/resolv.conf"
	cause := errors.New("enough")
	p.Stdout = writerFunc(func(b []byte) (int, error) {
		if strings.Contains(string(b), "ready") {
			cancel(cause)
		}
		return len(b), nil
	})
	start := time.Now()
	if err := launcher.Run(ctx, r, p); !errors.Is(err, cause) {
		t.Errorf("err = %v", err)
	}
	if !free(t, lock) {
		t.Error("a background process outlived Run")
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
	if err := launcher.Run(ctx, r, command("true")); !errors.Is(err, cause) {
		t.Errorf("err = %v after cancellation", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// A process left behind, that holds the output too, is gone when Run returns.
func TestBackground(t *testing.T) {
	t.Parallel()
	lock := lockFile(t)
	p := command("background", "/etc/hosts")
	p.Mounts = []Mount{{Kind: MountBind, Source: lock, Target: "/etc/hosts"}}
	out := mustOutput(t, newRootfs(t, 1), p)
	if out != "held" {
		t.Errorf("output %q", out)
	}
	if !free(t, lock) {
		t.Error("a background process outlived Run")
	}
}

func lockFile(t *testing.T) string {
	t.Helper()
	path := t.TempDir() + "/lock"
	must(t, os.WriteFile(path, nil, 0o644))
	return path
}

// free tells whether nobody holds a lock.
func free(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}
