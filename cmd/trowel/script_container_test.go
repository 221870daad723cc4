package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/testdata/boximage"
)

// userContainer is root with what Docker leaves to a container: no namespace can be made, and nothing mounted.
const userContainer = "container"

// containerRights are Docker's.
var containerRights = []uintptr{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FSETID, unix.CAP_FOWNER, unix.CAP_MKNOD, unix.CAP_NET_RAW, unix.CAP_SETGID,
	unix.CAP_SETUID, unix.CAP_SETFCAP, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT, unix.CAP_KILL, unix.CAP_AUDIT_WRITE,
}

// TestScriptsInContainer runs the scenarios of rungs without namespaces where there are none.
func TestScriptsInContainer(t *testing.T) {
	t.Parallel()
	if os.Getenv(envShell) != "" || !hasInitially(unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT, unix.CAP_MKNOD) {
		return // this is the container, or one cannot be made
	}
	dir := t.TempDir()
	shell := filepath.Join(dir, "sh")
	for _, d := range []string{"cmd/trowel", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "testdata/script"), os.DirFS("../../testdata/script")); err != nil {
		t.Fatal(err)
	}
	if err := boximage.Compile(t.Context(), "../..", shell); err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestScripts$/^run_(chroot|auto)$", "-test.count=1", "-test.timeout=5m", "-test.v")
	cmd.Dir = filepath.Join(dir, "cmd/trowel")
	cmd.Env = append(os.Environ(), envShell+"="+shell, envSetUp+"="+userContainer, "TMPDIR="+filepath.Join(dir, "tmp"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// enterContainer takes from this thread what a container has not got.
func enterContainer() error {
	runtime.LockOSThread() // the next program keeps what this thread has
	refuse := func(errno unix.Errno) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)}
	}
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	program := []unix.SockFilter{load(0)}
	for call, errno := range map[uint32]unix.Errno{
		unix.SYS_MOUNT: unix.EPERM, unix.SYS_UNSHARE: unix.EPERM, unix.SYS_SETNS: unix.EPERM, unix.SYS_OPEN_TREE: unix.EPERM,
		unix.SYS_FSOPEN: unix.EPERM, unix.SYS_MOVE_MOUNT: unix.EPERM, unix.SYS_CLONE3: unix.ENOSYS,
	} {
		program = append(program, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1}, refuse(errno))
	}
	program = append(program,
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLONE, Jf: 3}, load(16),
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: namespaces, Jf: 1}, refuse(unix.EPERM), allow)
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&filter))); errno != 0 {
		return errno
	}
	for c := uintptr(0); ; c++ {
		if slices.Contains(containerRights, c) {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // past the last
		}
		if err != nil {
			return err
		}
	}
}

// makeTrowel builds the program for a container in which there is nothing else: `mktrowel FILE`.
func makeTrowel(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mktrowel FILE")
	}
	build := exec.Command("go", "build", "-o", ts.MkAbs(args[0]), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		ts.Fatalf("build trowel: %v\n%s", err, out)
	}
}
