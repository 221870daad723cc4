package executor

import (
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// status reads some lines of the step's /proc/self/status.
func status(t *testing.T, user User, names ...string) map[string]string {
	t.Helper()
	p := command("cat", "/proc/self/status")
	p.User = user
	got := map[string]string{}
	for line := range strings.Lines(mustOutput(t, newRootfs(t, 1), p)) {
		name, value, _ := strings.Cut(line, ":")
		for _, n := range names {
			if n == name {
				got[name] = strings.TrimSpace(value)
			}
		}
	}
	return got
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	const docker, none = "00000000a80425fb", "0000000000000000"
	want := map[string]string{
		"CapInh": none, "CapPrm": docker, "CapEff": docker, "CapBnd": docker, "CapAmb": none, "NoNewPrivs": "0", "Seccomp": "2",
	}
	names := []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"}
	if diff := cmp.Diff(want, status(t, User{}, names...)); diff != "" {
		t.Errorf("root: %s", diff)
	}
	if userNamespace(t).IDs == 1 {
		return
	}
	want["CapPrm"], want["CapEff"] = none, none
	if diff := cmp.Diff(want, status(t, User{UID: 1000, GID: 1000}, names...)); diff != "" {
		t.Errorf("user: %s", diff)
	}
}

// A set-user-ID program of the image gives an ordinary user root again: sudo works.
func TestSetUserID(t *testing.T) {
	t.Parallel()
	if userNamespace(t).IDs == 1 {
		return // there is no ordinary user
	}
	r := newRootfs(t, 1)
	program := filepath.Join(base(r), "bin/super")
	text, err := os.ReadFile(inside)
	must(t, err)
	writeProgram(t, program, text)
	must(t, os.Chmod(program, 0o755|os.ModeSetuid))
	p := Process{Args: []string{"super", "mkdir", "/etc/by-root"}, Env: []string{"PATH=/bin"}, Dir: "/", User: User{UID: 1000, GID: 1000}}
	mustOutput(t, r, p)
}

func TestSystemCalls(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"mount": "1", "unshare newuser": "1", "unshare files": "0", "clone newuser": "1", "clone3": "38", "keyctl": "1", "userfaultfd": "1",
		"io_uring_setup": "1", "bpf": "1", "personality": "1", "personality query": "0", "socket vsock": "1",
	}
	if runtime.GOARCH == "amd64" {
		want["x32 getpid"] = "38"
	}
	got := map[string]string{}
	for line := range strings.Lines(mustOutput(t, newRootfs(t, 1), command("calls"))) {
		i := strings.LastIndexByte(line, ' ')
		got[line[:i]] = strings.TrimSpace(line[i:])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A privileged step has what the builder has, whoever its user is.
func TestPrivileges(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("/proc/self/status")
	must(t, err)
	own := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		own[name] = strings.TrimSpace(value)
	}
	all := own["CapPrm"]
	want := map[string]string{
		"CapInh": all, "CapPrm": all, "CapEff": all, "CapBnd": own["CapBnd"], "CapAmb": all, "NoNewPrivs": own["NoNewPrivs"], "Seccomp": own["Seccomp"],
	}
	if userNamespace(t).IDs == 1 {
		want["Seccomp"] = "2" // the filter by which identities are recorded
	}
	for _, u := range []User{{}, {UID: 1000, GID: 1000}} {
		got := map[string]string{}
		p := privileged("cat", "/proc/self/status")
		p.User = u
		for line := range strings.Lines(mustOutput(t, newRootfs(t, 1), p)) {
			if name, value, _ := strings.Cut(line, ":"); want[name] != "" {
				got[name] = strings.TrimSpace(value)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("user %d: %s", u.UID, diff)
		}
	}
	if calls := mustOutput(t, newRootfs(t, 1), privileged("calls")); strings.Contains(calls, "mount 1\n") || strings.Contains(calls, "clone3 38\n") {
		t.Errorf("system calls are refused:\n%s", calls)
	}
}

// A privileged step finds nothing masked below a /proc and a /sys of its own, and further devices.
func TestPrivilegedKernel(t *testing.T) {
	t.Parallel()
	mounts := mustOutput(t, newRootfs(t, 1), privileged("cat", "/proc/self/mounts"))
	initial := userNamespace(t).Initial
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		fresh := fields[0] == "none" && os.Getenv(envProc) != string(ProcBound) && os.Getenv(envSetUp) == ""
		if strings.HasPrefix(fields[1], "/proc/") && fresh || fields[1] == "/sys" && initial && !strings.HasPrefix(fields[3], "rw,") {
			t.Errorf("mount: %s", line)
		}
	}
	if initial {
		want := "/dev/fuse 20666 10:229\n/dev/loop0 60666 7:0\n/dev/net/tun 20666 10:200"
		if got := mustOutput(t, newRootfs(t, 1), privileged("stat", "/dev/fuse", "/dev/loop0", "/dev/net/tun")); got != want {
			t.Errorf("devices:\n%s", got)
		}
	}
	if _, err := outputOf(t, newRootfs(t, 1), command("stat", "/dev/fuse")); err == nil {
		t.Error("a confined step has /dev/fuse")
	}
}

func privileged(args ...string) Process {
	p := command(args...)
	p.Privileges = PrivilegesBuilder
	return p
}

// The step has the three standard descriptors, also where whoever started the builder, or the builder, leaked others.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	f, err := os.Open("/")
	must(t, err)
	defer f.Close()
	leaked, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD, 20) // no close-on-exec
	must(t, err)
	defer unix.Close(leaked)
	var got []string
	for line := range strings.Lines(mustOutput(t, newRootfs(t, 1), command("links", "/proc/self/fd"))) {
		fd, target, _ := strings.Cut(strings.TrimSpace(line), " ")
		kind, _, _ := strings.Cut(target, ":")
		if strings.HasPrefix(kind, "anon_inode") || strings.HasPrefix(target, "/proc/") || strings.HasPrefix(target, "/sys/fs/cgroup/") {
			continue // the program's own: its poll set, the directory that it reads, what the Go runtime watches
		}
		got = append(got, fd+" "+kind)
	}
	if diff := cmp.Diff([]string{"0 /dev/null", "1 pipe", "2 pipe"}, got); diff != "" {
		t.Error(diff)
	}
}

// The fallback for kernels without CLOSE_RANGE_CLOEXEC marks everything too.
func TestCloseOnExecOneByOne(t *testing.T) {
	t.Parallel()
	f, err := os.Open("/")
	must(t, err)
	defer f.Close()
	leaked, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD, 20)
	must(t, err)
	defer unix.Close(leaked)
	must(t, closeOnExecOneByOne())
	flags, err := unix.FcntlInt(uintptr(leaked), unix.F_GETFD, 0)
	must(t, err)
	if flags&unix.FD_CLOEXEC == 0 {
		t.Error("descriptor is not marked")
	}
}

// A working directory by descriptor must not be one of the builder's (CVE-2024-21626).
func TestDirectoryByDescriptor(t *testing.T) {
	t.Parallel()
	r := newRootfs(t, 1)
	for fd := range 24 {
		p := command("cwd")
		p.Dir = fmt.Sprintf("/proc/self/fd/%d", fd)
		if out, err := outputOf(t, r, p); err == nil {
			t.Errorf("entered %s: %q", p.Dir, out)
		}
	}
}

// A directory outside the root is recognised by its name.
func TestDirectoryOutside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	inOwnMountNamespace(t, func() {
		must(t, unix.Chdir("/"))
		must(t, unix.Chroot(dir))
		if err := enterDirectory("outside", nil); err == nil {
			t.Error("entered a directory outside the root")
		}
		must(t, unix.Chdir("/"))
		if err := enterDirectory("/", nil); err != nil {
			t.Error(err)
		}
	})
}

func TestChrootEscape(t *testing.T) {
	t.Parallel()
	marker := filepath.Join(t.TempDir(), "marker")
	must(t, os.WriteFile(marker, nil, 0o644))
	if got := mustOutput(t, newRootfs(t, 1), command("escape", marker)); got != "" {
		t.Errorf("%s", got)
	}
}

// The builder's memory, environment, descriptors and life are out of reach.
func TestAttackBuilder(t *testing.T) {
	t.Parallel()
	got := mustOutput(t, newRootfs(t, 1), command("attack", fmt.Sprint(os.Getpid())))
	if version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 || version < landlockScopes {
		got = strings.TrimSpace(strings.ReplaceAll(got, "signal", "")) // with the builder's /proc nothing else prevents it
	}
	if got != "" {
		t.Errorf("the step could: %s", got)
	}
}

// An image can make the kernel start this very program in it. It must not get hold of a file that can be written
// (CVE-2019-5736).
func TestInterpreterIsOurselves(t *testing.T) {
	t.Parallel()
	r := newRootfs(t, 1)
	writeProgram(t, filepath.Join(base(r), "bin/trap"), []byte("#!/proc/self/exe\n"))
	copyLibraries(t, base(r))
	p := command()
	p.Args = []string{"trap"}
	got, err := outputOf(t, r, p)
	if err != nil || got != "read-only" {
		t.Errorf("own executable is %q, %v", got, err)
	}
}

// copyLibraries puts what this program is linked to into a root file system: under the race detector that is something.
func copyLibraries(t *testing.T, root string) {
	t.Helper()
	program, err := elf.Open("/proc/self/exe")
	must(t, err)
	defer program.Close()
	var paths []string
	for _, segment := range program.Progs {
		if segment.Type == elf.PT_INTERP {
			name, err := io.ReadAll(segment.Open())
			must(t, err)
			paths = append(paths, strings.TrimRight(string(name), "\x00"))
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	for line := range strings.Lines(string(maps)) {
		if fields := strings.Fields(line); len(fields) == 6 && strings.Contains(fields[5], ".so") {
			paths = append(paths, fields[5])
		}
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		must(t, err)
		must(t, os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755))
		writeProgram(t, filepath.Join(root, path), text)
	}
}

// printExecutable says whether the mount that this program was started from can be written through.
func printExecutable() int {
	var fs unix.Statfs_t
	if err := unix.Statfs("/proc/self/exe", &fs); err != nil {
		fmt.Println(err)
		return 1
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		fmt.Print("read-only")
	} else {
		fmt.Print("writable")
	}
	return 0
}

// A copy in a sealed memory file serves where the executable cannot be mounted read-only.
func TestSealedExecutable(t *testing.T) {
	t.Parallel()
	f, err := copyExecutable()
	must(t, err)
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("the copy can be written")
	}
	sealed := &Launcher{selfFile: f}
	sealed.self.Do(func() {})
	must(t, sealed.Run(t.Context(), newRootfs(t, 1), command("true")))
}

func TestNetworkNone(t *testing.T) {
	t.Parallel()
	p := command("interfaces")
	p.Network = NetworkNone
	if got := mustOutput(t, newRootfs(t, 1), p); got != "lo true" {
		t.Errorf("interfaces %q", got)
	}
}

func TestProcIsProtected(t *testing.T) {
	t.Parallel()
	r := newRootfs(t, 1)
	for _, path := range []string{"/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/proc/kcore"} {
		if _, err := outputOf(t, r, command("append", path, "x")); err == nil {
			t.Errorf("%s can be written", path)
		}
	}
	for _, path := range hidden() {
		st, err := os.Stat(path)
		if err != nil {
			continue // not in this kernel
		}
		show := "cat"
		if st.IsDir() {
			show = "ls"
		}
		if got := mustOutput(t, r, command(show, path)); got != "" {
			t.Errorf("%s shows %q", path, got)
		}
	}
}

// With a PID namespace the command is its process 1 and sees no other process.
func TestProcesses(t *testing.T) {
	t.Parallel()
	if os.Getenv(envProc) == string(ProcBound) || masked() {
		return // it has the builder's
	}
	var got []string
	for line := range strings.Lines(mustOutput(t, newRootfs(t, 1), command("ls", "/proc"))) {
		if c := line[0]; c >= '0' && c <= '9' {
			got = append(got, strings.TrimSpace(line))
		}
	}
	if diff := cmp.Diff([]string{"1"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestDevices(t *testing.T) {
	t.Parallel()
	r := newRootfs(t, 1)
	want := "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
	got := strings.Join(strings.Fields(mustOutput(t, r, command("ls", "/dev"))), " ")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	out := mustOutput(t, r, command("stat", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx"))
	wantStat := "/dev/null 20666 1:3\n/dev/zero 20666 1:5\n/dev/full 20666 1:7\n/dev/random 20666 1:8\n" +
		"/dev/urandom 20666 1:9\n/dev/tty 20666 5:0\n/dev/ptmx 20666 5:2"
	if diff := cmp.Diff(wantStat, out); diff != "" {
		t.Error(diff)
	}
	mustOutput(t, r, command("write", "/dev/shm/x", "shared"))
	mustOutput(t, r, command("write", "/dev/null", "gone"))
	var before, after unix.Stat_t
	must(t, unix.Stat("/dev/full", &before))
	_, _ = outputOf(t, r, command("mode", "/dev/full")) // may fail, but must not change the machine's
	must(t, unix.Stat("/dev/full", &after))
	if before.Mode != after.Mode {
		t.Errorf("a step has changed the mode of the machine's /dev/full to %o", after.Mode)
		must(t, unix.Chmod("/dev/full", before.Mode&0o7777))
	}
	if got := entries(t, r.Upper); got != nil {
		t.Errorf("upper holds %q", got)
	}
}

func TestMakeDevice(t *testing.T) {
	t.Parallel()
	r := newRootfs(t, 1)
	out, err := outputOf(t, r, command("mknod", "/tmp/null"))
	if userNamespace(t).Initial != (err == nil) {
		t.Errorf("mknod: %v %s", err, out)
	}
}
