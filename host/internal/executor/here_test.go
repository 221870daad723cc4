package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestInPlace makes containers as Docker does by default, with the rung that can, and runs processes in place in them: what a
// container may not do is not simulated. Each case of hereCases is a builder in a container of its own.
func TestInPlace(t *testing.T) {
	t.Parallel()
	cases := hereCases()
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		for _, rights := range []string{"default", "few"} {
			t.Run(name+", "+rights, func(t *testing.T) {
				t.Parallel()
				if got := inContainer(t, name, rights); got != "" {
					t.Errorf("%s", got)
				}
			})
		}
	}
}

// inContainer makes one container, and returns what the builder in it prints.
func inContainer(t *testing.T, name, rights string) string {
	t.Helper()
	r := newRootfs(t, 1)
	container := filepath.Join(base(r), "kaniko")
	must(t, os.MkdirAll(container, 0o755))
	must(t, os.MkdirAll(filepath.Join(base(r), "workspace"), 0o755))
	must(t, os.MkdirAll(filepath.Join(base(r), "root"), 0o700))
	for _, name := range []string{"etc/passwd", "etc/hostname", "root/.profile"} {
		must(t, os.WriteFile(filepath.Join(base(r), name), []byte("container "+name), 0o644))
	}
	program, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	writeProgram(t, container+"/executor", program)
	copyLibraries(t, base(r))
	p := Process{
		Args: []string{"/kaniko/executor"}, Dir: "/workspace", Hostname: "container",
		Env:        []string{"PATH=/bin", "SECRET=hush", envHere + "=" + name, envRights + "=" + rights},
		ResolvConf: []byte("nameserver 127.0.0.1\n"), Hosts: []byte("127.0.0.1 localhost\n"),
		Mounts: []Mount{{Kind: MountTmpfs, Target: "/workspace"}},
		Proc:   Proc(os.Getenv(envProc)),
	}
	var out bytes.Buffer
	p.Stdout, p.Stderr = &out, &out
	ctx, cancel := context.WithTimeout(t.Context(), hereDeadline)
	defer cancel()
	if err := launcher.Run(ctx, r, p); err != nil {
		t.Errorf("%v", err)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// hereDeadline ends a case that waits for what never comes.
const hereDeadline = 3 * time.Minute

// here is a builder in a container, at work in one of the cases.
type here struct {
	ctx    context.Context //nolint:containedctx // the case's, as a testing.T has the test's
	plain  Plain
	before map[string]bool // all that was in the container
}

// hereMain runs a case. What it prints is what is wrong.
func hereMain(name string) int {
	if os.Getenv(envRights) == "few" {
		os.Unsetenv(envRights)
		fmt.Println(withFewRights())
		return 1
	}
	if err := Recover(context.Background()); err != nil {
		fmt.Println("recover:", err)
	}
	h := here{ctx: context.Background(), plain: Plain{Dir: HiddenDir + "/work/stage", Aside: HiddenDir + "/work/aside"}}
	for _, dir := range []string{"bin", "etc", "proc", "tmp", "root", "lib", "lib64", "usr", "workspace"} {
		h.must(os.MkdirAll(filepath.Join(h.plain.Dir, dir), 0o755))
	}
	h.must(os.Chmod(h.plain.Dir+"/tmp", 0o777|fs.ModeSticky))
	h.must(os.MkdirAll(h.plain.Aside, 0o700))
	program, err := os.ReadFile("/bin/inside")
	h.must(err)
	h.must(os.WriteFile(h.plain.Dir+"/bin/inside", program, 0o755))
	h.must(os.WriteFile(h.plain.Dir+"/etc/passwd", []byte("stage"), 0o644))
	h.copyLibraries()
	h.before = namesBelow("/")
	if work, ok := hereCases()[name]; ok {
		work(h)
	} else {
		h.never()
	}
	h.sameAsBefore()
	return 0
}

// withFewRights starts this program again with the capabilities that Shipwright gives a builder.
func withFewRights() error {
	runtime.LockOSThread() // the set is a thread's
	few := []uintptr{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_SETGID, unix.CAP_SETUID}
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		if !slices.Contains(few, c) && c != unix.CAP_SETPCAP {
			_ = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) // fails past the kernel's last
		}
	}
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SETPCAP, 0, 0, 0); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", []string{"executor"}, os.Environ())
}

func (h here) copyLibraries() {
	for _, dir := range []string{"/lib", "/lib64", "/usr"} { // of a program that is not static, under the race detector
		if _, err := os.Stat(dir); err == nil {
			h.must(os.CopyFS(h.plain.Dir+dir, os.DirFS(dir)))
		}
	}
}

func (here) must(err error) {
	if err != nil {
		fmt.Println(err)
	}
}

// namesBelow are all files but those that come and go.
func namesBelow(root string) map[string]bool {
	all := map[string]bool{}
	_ = filepath.WalkDir(root, func(path string, _ fs.DirEntry, _ error) error {
		switch path {
		case "/proc", "/sys", "/dev/pts":
			return fs.SkipDir
		}
		if !strings.HasPrefix(path, HiddenDir) {
			all[path] = true
		}
		return nil
	})
	return all
}

func (h here) sameAsBefore() {
	after := namesBelow("/")
	for path := range h.before {
		if !after[path] {
			fmt.Println("missing afterwards:", path)
		}
	}
	for path := range after {
		if !h.before[path] {
			fmt.Println("left over:", path)
		}
	}
	if text, err := os.ReadFile("/etc/passwd"); string(text) != "container etc/passwd" {
		fmt.Printf("/etc/passwd: %q, %v\n", text, err)
	}
	if names, err := os.ReadDir(HiddenDir + "/" + awayName); len(names) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		fmt.Println("still away:", names, err)
	}
}

func (h here) run(change func(*Process), args ...string) (string, error) {
	var out bytes.Buffer
	p := command(args...)
	p.Proc = ""
	p.Stdout, p.Stderr = &out, &out
	if change != nil {
		change(&p)
	}
	_, err := launcher.RunPlain(h.ctx, RungInPlace, h.plain, p)
	return strings.TrimSuffix(out.String(), "\n"), err
}

func (h here) want(want string, change func(*Process), args ...string) {
	got, err := h.run(change, args...)
	if got != want || err != nil {
		fmt.Printf("%q: %q, %v; want %q\n", args, got, err, want)
	}
}

func (h here) wantError(want string, change func(*Process), args ...string) {
	if got, err := h.run(change, args...); err == nil || !strings.Contains(err.Error(), want) {
		fmt.Printf("%q: %q, %v; want %s\n", args, got, err, want)
	}
}

func asUser(p *Process) { p.User = User{UID: 1000, GID: 100, Groups: []uint32{7}} }

// hereCases are what a builder does in place.
func hereCases() map[string]func(here) {
	return map[string]func(here){
		"root and users": func(h here) {
			h.want("0 0 [] 022", nil, "id")
			if len(h.ids()) == 1 {
				return
			}
			h.want("1000 100 [7] 022", asUser, "id")
			h.want("through the link", asUser, "write", "/dev/stdout", "through the link")
		},
		"files": func(h here) {
			h.want("stage", nil, "cat", "/etc/passwd")
			h.want("", nil, "all", "write", "/new", "text", ";", "rm", "/etc/passwd", ";", "mkdir", "/srv", ";", "write", "/srv/a", "")
			if text, err := os.ReadFile(h.plain.Dir + "/new"); string(text) != "text" {
				fmt.Println("/new:", string(text), err)
			}
			if _, err := os.Stat(h.plain.Dir + "/etc/passwd"); err == nil {
				fmt.Println("/etc/passwd is still there")
			}
			h.want("executor", nil, "all", "ls", "/root", ";", "ls", "/kaniko")
		},
		"directory": func(h here) {
			h.want("/srv/made", func(p *Process) { p.Dir = "/srv/made" }, "cwd")
			for fd := range 24 {
				h.wantError("", func(p *Process) { p.Dir = fmt.Sprintf("/proc/self/fd/%d", fd) }, "cwd")
			}
		},
		"exit": func(h here) {
			var exit *ExitError
			if _, err := h.run(nil, "exit", "137"); !errors.As(err, &exit) || exit.Code != 137 {
				fmt.Println("exit 137:", err)
			}
			if _, err := h.run(nil, "die"); !errors.As(err, &exit) || exit.Signal != int(unix.SIGSYS) {
				fmt.Println("die:", err)
			}
			h.wantError(`exec "nothing": not found in PATH`, func(p *Process) { p.Args[0] = "nothing" }, "")
		},
		"attack": func(h here) {
			for _, change := range []func(*Process){nil, asUser} {
				if change != nil && len(h.ids()) == 1 {
					continue
				}
				got, err := h.run(change, "attack", fmt.Sprint(os.Getpid()))
				// In place a process of root's can signal the builder: that is documented.
				if got = strings.TrimSpace(strings.TrimPrefix(got, "signal")); got != "" || err != nil {
					fmt.Printf("the step could: %q, %v\n", got, err)
				}
			}
		},
		"descriptors": func(h here) {
			fd, err := unix.Open("/", unix.O_RDONLY, 0) // no close-on-exec
			h.must(err)
			got, err := h.run(nil, "links", "/proc/self/fd")
			h.must(err)
			for line := range strings.Lines(got) {
				n, target, _ := strings.Cut(strings.TrimSpace(line), " ")
				if n > "2" && !strings.HasPrefix(target, "anon_inode") && !strings.HasPrefix(target, "/proc/") && !strings.HasPrefix(target, "/sys/fs/cgroup") {
					fmt.Println("descriptor", line)
				}
			}
			h.must(unix.Close(fd))
		},
		"capabilities": func(h here) {
			rights, err := rightsBut(withheld)
			h.must(err)
			set := uint64(0)
			for _, c := range rights {
				set |= 1 << c
			}
			got, err := h.run(nil, "cat", "/proc/self/status")
			h.must(err)
			for _, name := range []string{"CapPrm", "CapEff", "CapBnd"} {
				if want := fmt.Sprintf("%s:\t%016x\n", name, set); !strings.Contains(got, want) {
					fmt.Printf("want %s in %s\n", want, got)
				}
			}
			if !strings.Contains(got, "NoNewPrivs:\t0\n") {
				fmt.Println("no_new_privs is set")
			}
		},
		"background": func(h here) {
			h.must(os.WriteFile("/workspace/lock", nil, 0o644))
			h.want("held", nil, "background", "/workspace/lock")
			h.free("/workspace/lock")
			if len(h.ids()) > 1 {
				h.want("held", asUser, "background", "/workspace/lock")
				h.free("/workspace/lock")
			}
			h.must(os.Remove("/workspace/lock"))
		},
		"unwatched": here.unwatched,
		"cancel": func(h here) {
			ctx, cancel := context.WithCancelCause(h.ctx)
			h.ctx = ctx
			cause := errors.New("enough")
			_, err := h.run(func(p *Process) {
				p.Stdout = writerFunc(func(b []byte) (int, error) { cancel(cause); return len(b), nil })
			}, "all", "write", "/partly", "", ";", "hold", "/etc/passwd")
			if !errors.Is(err, cause) {
				fmt.Println("cancel:", err)
			}
		},
		"cancel, stopped":                    here.stopped,
		"killed before credentials are back": here.killedLate,
		"killed": func(h here) {
			for range 3 {
				h.must(os.WriteFile("/root/token", []byte("hush"), 0o600))
				h.before["/root/token"] = true
				cmd := h.holding()
				if _, err := os.Stat("/root/.profile"); err == nil {
					fmt.Println("the container's files are not away")
				}
				h.must(cmd.Process.Kill())
				_ = cmd.Wait()
				// The supervisor puts the container in order, though nobody starts another builder.
				for started := time.Now(); ; time.Sleep(5 * time.Millisecond) {
					if _, err := os.Lstat("/root/token"); err == nil {
						break
					}
					if time.Since(started) > 10*time.Second {
						fmt.Println("nobody has put the container in order")
						break
					}
				}
				h.sameAsBefore()
			}
		},
		"credentials": func(h here) {
			h.must(os.WriteFile("/root/config.json", []byte("hush"), 0o640))
			h.must(os.Chown("/root/config.json", 0, 0))
			h.must(os.WriteFile("/workspace/token", []byte("hush"), 0o600))
			h.plain.Veil = []string{"/root/config.json", "/root/missing", "/workspace/token", "/etc/hosts"}
			h.before["/root/config.json"], h.before["/workspace/token"] = true, true
			told := ""
			notice := func(p *Process) { p.Notice = func(text string) { told += text } }
			// The process is root and knows where the container's files are.
			for _, path := range []string{HiddenDir + "/" + awayName + "/root/config.json", "/root/config.json", "/workspace/token"} {
				h.wantError("", notice, "cat", path)
			}
			for path, mode := range map[string]os.FileMode{"/root/config.json": 0o640, "/workspace/token": 0o600} {
				text, err := os.ReadFile(path)
				info, statErr := os.Stat(path)
				if string(text) != "hush" || err != nil || statErr != nil || info.Mode() != mode {
					fmt.Printf("%s afterwards: %q, %v, %v\n", path, text, err, info)
				}
			}
			if strings.Count(told, `"/etc/hosts"`) != 1 || strings.Contains(told, "token") {
				fmt.Println("told:", told)
			}
		},
		"container's files reached": func(h here) {
			told := ""
			notice := func(p *Process) { p.Notice = func(text string) { told += text } }
			h.must(os.WriteFile("/root/old", nil, 0o600))
			own, err := os.Create("/root/log")
			h.must(err)
			h.before["/root/log"] = true
			h.want("", func(p *Process) {
				notice(p)
				p.Stdout = writerFunc(func(b []byte) (int, error) { return own.Write(b) })
			}, "all", "write", "/root/mine", "", ";", "cat", "/etc/passwd")
			if told != "" {
				fmt.Println("told of nothing:", told)
			}
			away := HiddenDir + "/" + awayName
			h.want("", notice, "all", "write", away+"/etc/hostname", "evil", ";", "rm", away+"/root/old")
			for _, want := range []string{`the container's own files were changed`, `"/etc/hostname"`, `"/root"`} {
				if !strings.Contains(told, want) {
					fmt.Printf("want %s in %q\n", want, told)
				}
			}
			if strings.Contains(told, "log") || strings.Contains(told, "profile") {
				fmt.Println("told too much:", told)
			}
		},
		"refused": func(h here) {
			h.wantError("cannot be without one", func(p *Process) { p.Network = NetworkNone }, "true")
			h.wantError("cannot be given more", func(p *Process) { p.Privileges = PrivilegesBuilder }, "true")
		},
		"program replaced": func(h here) {
			h.wantError("changed what the builder needs", nil, "all", "rm", "/kaniko/executor", ";", "write", "/kaniko/executor", "evil")
		},
		"left in devices": func(h here) {
			h.want("", nil, "all", "write", "/dev/shm/x", "", ";", "mkdir", "/dev/mine")
		},
		"written to a mount": func(h here) {
			h.wantError(`"/workspace": something was written there`, nil, "write", "/workspace/x", "")
			h.must(os.Remove("/workspace/x"))
			h.want("", nil, "all", "write", "/workspace/x", "", ";", "rm", "/workspace/x")
		},
		"hidden by a mount": func(h here) {
			h.must(os.WriteFile(h.plain.Dir+"/workspace/app", nil, 0o644))
			h.wantError(`show in place "/workspace/app"`, nil, "true")
		},
	}
}

// ids are the user IDs that exist here.
func (h here) ids() []uint32 {
	ranges, err := readIDMap("/proc/self/uid_map")
	h.must(err)
	if len(ranges) == 1 && ranges[0].Count == 1 {
		return []uint32{0}
	}
	return []uint32{0, 1000}
}

func (h here) free(lock string) {
	f, err := os.Open(lock)
	h.must(err)
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		fmt.Println("a process outlived the step:", err)
	}
}

// holdHere runs one endless process in place.
func holdHere() int {
	p := command("hold", "/etc/passwd")
	p.Stdout = os.Stdout
	_, err := launcher.RunPlain(context.Background(), RungInPlace, Plain{Dir: HiddenDir + "/work/stage", Aside: HiddenDir + "/work/aside", Veil: []string{"/root/token"}}, p)
	fmt.Println(err)
	return 1
}
