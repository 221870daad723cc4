package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// target is what the attacks are aimed at. A real one would have to find it out; these are told.
type target struct {
	Program string // this one, by the name that it has here
	Canary  string // what every file and memory holds that shall not be read
	PID     int    // the process to look into
	Address uintptr
	FD      int               // open there, on a file that holds the canary
	Files   map[string]string // by what they are
	Token   string            // an argument of what is left behind
}

// errCanary says that something else was found.
var errCanary = errors.New("it does not hold what was looked for")

// never makes one attack, and prints whether it was possible.
func never(name, spec string) error {
	var t target
	if err := json.Unmarshal([]byte(spec), &t); err != nil {
		return err
	}
	attack, ok := attacks()[name]
	if !ok {
		return fmt.Errorf("attack how: %q", name)
	}
	if err := attack(t); err != nil {
		fmt.Printf("no: %v", err)
		return nil
	}
	fmt.Print("possible")
	return nil
}

// attacks are those that a table in ../../never_test.go names. Without an error they have succeeded.
func attacks() map[string]func(target) error {
	return map[string]func(target) error{
		"environ":    target.environ,
		"inherited":  target.inherited,
		"mem":        target.mem,
		"vm":         target.vm,
		"ptrace":     target.seize,
		"fd":         target.fd,
		"pidfd":      target.pidfd,
		"leaked":     target.leaked,
		"here":       func(t target) error { return t.holds("canary") },
		"read":       func(t target) error { return t.holds(t.Files["read"]) },
		"write":      func(t target) error { return os.WriteFile(t.Files["write"], []byte("evil"), 0o644) },
		"open files": target.openFiles,
		"connect":    func(t target) error { return connect(t.Files["socket"]) },
		"abstract":   func(t target) error { return connect(t.Files["abstract"]) },
		"signal":     func(t target) error { return syscall.Kill(t.PID, 0) },
		"pidfd kill": target.pidfdKill,
		"stay":       target.stay,
		"orphan":     target.orphan,
		"chroot":     func(t target) error { return t.climbFrom(enterHole) },
		"descriptor": func(t target) error { return t.climbFrom(leaveHole) },
		"proc root":  target.procRoot,
		"proc climb": target.procClimb,
		"setns":      target.setns,
		"handle":     target.handle,
		"device":     device,
		"mount":      mount,
	}
}

// holds reads a file for the canary.
func (t target) holds(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if string(text) != t.Canary {
		return errCanary
	}
	return nil
}

func (t target) proc(name string) string { return fmt.Sprintf("/proc/%d/%s", t.PID, name) }

func (t target) environ() error {
	text, err := os.ReadFile(t.proc("environ"))
	if err == nil && len(text) == 0 {
		err = errCanary
	}
	return err
}

// inherited looks for a variable that nobody gave this process.
func (target) inherited() error {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PATH=") {
			return nil
		}
	}
	return errCanary
}

func (t target) mem() error {
	f, err := os.Open(t.proc("mem"))
	if err != nil {
		return err
	}
	text := make([]byte, len(t.Canary))
	_, err = f.ReadAt(text, int64(t.Address))
	if err == nil && string(text) != t.Canary {
		err = errCanary
	}
	return errors.Join(err, f.Close())
}

func (t target) vm() error {
	text := make([]byte, len(t.Canary))
	type span struct{ at, size uintptr }
	to, from := span{uintptr(unsafe.Pointer(&text[0])), uintptr(len(text))}, span{t.Address, uintptr(len(text))}
	_, _, errno := syscall.Syscall6(sysProcessVMReadv, uintptr(t.PID), uintptr(unsafe.Pointer(&to)), 1, uintptr(unsafe.Pointer(&from)), 1, 0)
	if errno != 0 {
		return errno
	}
	if string(text) != t.Canary {
		return errCanary
	}
	return nil
}

// seize traces a process without stopping it, so that it may be the tests' own.
func (t target) seize() error {
	const seize = 0x4206
	if _, _, errno := syscall.Syscall6(syscall.SYS_PTRACE, seize, uintptr(t.PID), 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func (t target) fd() error { return t.holds(t.proc(fmt.Sprintf("fd/%d", t.FD))) }

const (
	sysPidfdSendSignal = 424 // the same on every machine
	sysPidfdOpen       = 434
	sysPidfdGetfd      = 438
)

func (t target) pidfd() error {
	process, _, errno := syscall.Syscall(sysPidfdOpen, uintptr(t.PID), 0, 0)
	if errno != 0 {
		return errno
	}
	fd, _, errno := syscall.Syscall(sysPidfdGetfd, process, uintptr(t.FD), 0)
	if errno != 0 {
		return errno
	}
	return t.holdsFD(int(fd))
}

func (t target) holdsFD(fd int) error {
	text := make([]byte, len(t.Canary)+1)
	n, err := syscall.Pread(fd, text, 0)
	if err == nil && string(text[:max(n, 0)]) != t.Canary {
		err = errCanary
	}
	return err
}

func (t target) pidfdKill() error {
	process, _, errno := syscall.Syscall(sysPidfdOpen, uintptr(t.PID), 0, 0)
	if errno == 0 { // signal 0 asks whether one may
		_, _, errno = syscall.Syscall6(sysPidfdSendSignal, process, 0, 0, 0, 0, 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// leaked looks for descriptors that came along, without asking /proc.
func (t target) leaked() error {
	for fd := 3; fd < 1024; fd++ {
		if t.holdsFD(fd) == nil {
			return nil
		}
	}
	return errCanary
}

// openFiles looks through what all processes have open.
func (t target) openFiles() error {
	all, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, path := range all {
		if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() || st.Size() > 1<<16 {
			continue
		}
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), t.Canary) {
			return nil
		}
	}
	return errCanary
}

func connect(address string) error {
	c, err := net.Dial("unix", address)
	if err != nil {
		return err
	}
	return c.Close()
}

// stay leaves a process behind that nobody waits for.
func (t target) stay() error {
	cmd := exec.Command(t.Program, "stay", t.Token)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}

// orphan kills what watches over this process, and hopes to be forgotten.
func (t target) orphan() error {
	watcher := os.Getppid()
	if watcher <= 1 {
		return errors.New("nobody is there to be killed")
	}
	if err := t.stay(); err != nil {
		return err
	}
	if err := syscall.Kill(watcher, syscall.SIGKILL); err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond)
	return nil
}

// reached looks for the canary below the directory that this process has entered.
func (t target) reached() error { return t.holds("." + t.Files["read"]) }

// here looks around and above where the process was started.
func (t target) here() error {
	if err := t.holds("canary"); err == nil {
		return nil
	}
	for range 64 {
		if err := syscall.Chdir(".."); err != nil {
			return err
		}
	}
	return t.reached()
}

const hole = "/tmp/hole"

// climbFrom goes up as far as it can from where it gets by enter.
func (t target) climbFrom(enter func() error) error {
	if err := os.MkdirAll(hole, 0o755); err != nil {
		return err
	}
	if err := enter(); err != nil {
		return err
	}
	for range 64 {
		if err := syscall.Chdir(".."); err != nil {
			return err
		}
	}
	return t.reached()
}

// enterHole moves the root and not the directory: the classic way out of a chroot.
func enterHole() error { return syscall.Chroot(hole) }

// leaveHole does so with a descriptor of the old root.
func leaveHole() error {
	fd, err := syscall.Open("/", syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(syscall.Chdir(hole), syscall.Chroot(hole)); err != nil {
		return err
	}
	return syscall.Fchdir(fd)
}

func (t target) procRoot() error {
	var errs []error
	for _, dir := range []string{t.proc("root"), t.proc("cwd"), "/proc/1/root", fmt.Sprintf("/proc/%d/root", os.Getppid())} {
		if err := syscall.Chdir(dir); err != nil {
			errs = append(errs, err)
			continue
		}
		for range 64 {
			_ = syscall.Chdir("..")
		}
		err := t.reached()
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errs[0]
}

// procClimb goes up from the directories of /proc that are one's own.
func (t target) procClimb() error {
	var last error
	for _, dir := range []string{"/proc", "/proc/self", "/proc/self/fd", "/proc/self/task", "/proc/self/root", "/proc/self/cwd", "/proc/sys"} {
		up := dir + strings.Repeat("/..", 20)
		if last = t.holds(up + t.Files["read"]); last == nil {
			return nil
		}
		fd, err := syscall.Open(dir, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
		if err != nil {
			continue
		}
		found, err := syscall.Openat(fd, strings.Repeat("../", 20)+t.Files["read"][1:], syscall.O_RDONLY, 0)
		if err == nil && t.holdsFD(found) == nil {
			return nil
		}
	}
	return last
}

// setns enters the mount namespace of the builder.
func (t target) setns() error {
	f, err := os.Open(t.proc("ns/mnt"))
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_FS); err != nil {
		return err
	}
	_, _, errno := syscall.Syscall(sysSetns, f.Fd(), syscall.CLONE_NEWNS, 0)
	if errno != 0 {
		return errno
	}
	return t.holds(t.Files["read"])
}

// handle opens a file by its handle, which would be a way past every directory, on a file system that has handles.
func (t target) handle() error {
	var h struct {
		size, kind uint32
		name       [128]byte
	}
	h.size = uint32(len(h.name))
	path, err := syscall.BytePtrFromString("/dev/shm")
	if err != nil {
		return err
	}
	var mount int32
	const here = ^uintptr(99) // AT_FDCWD
	if _, _, errno := syscall.Syscall6(sysNameToHandleAt, here, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(&mount)), 0, 0); errno != 0 {
		return errno
	}
	dir, err := syscall.Open("/dev/shm", syscall.O_RDONLY, 0)
	if err != nil {
		return err
	}
	if _, _, errno := syscall.Syscall(sysOpenByHandleAt, uintptr(dir), uintptr(unsafe.Pointer(&h)), syscall.O_RDONLY); errno != 0 {
		return errno
	}
	return nil
}

// mount asks for a mount that is refused for its target alone, by who may mount.
func mount(target) error {
	err := syscall.Mount("none", "/nowhere", "tmpfs", 0, "")
	if errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return err
}

// device opens a node that it has made itself, of a device that every machine has.
func device(target) error {
	if err := syscall.Mknod("/tmp/node", syscall.S_IFCHR|0o600, 1<<8|5); err != nil { // zero
		return err
	}
	f, err := os.Open("/tmp/node")
	return errors.Join(err, os.Remove("/tmp/node"), f.Close())
}
