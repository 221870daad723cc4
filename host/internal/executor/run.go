package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Run runs a process in a root file system and returns when it, every process it left behind, and its output are done.
// The error is an *[ExitError] if the command failed, ctx's if it was cancelled, a *[SetupError] if the command did not
// start. It may be called from many goroutines, each with an Upper, Work and Merged of its own.
func (l *Launcher) Run(ctx context.Context, root Rootfs, p Process) error {
	if err := errors.Join(root.check(), p.check()); err != nil {
		return err
	}
	return l.run(ctx, actionRun, root, p)
}

func (l *Launcher) run(ctx context.Context, what action, root Rootfs, p Process) (err error) {
	w, files, err := p.wire()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll(files)) }()
	o := order{Root: root, Process: w, Action: what}
	if p.Proc == ProcAuto {
		o.Process.Proc = ProcFresh
		if l.bound.Load() {
			o.Process.Proc = ProcBound
		}
	}
	err = l.start(ctx, o, p, files)
	if p.Proc == ProcAuto && o.Process.Proc == ProcFresh && freshProcRefused(err) {
		l.bound.Store(true)
		o.Process.Proc = ProcBound
		err = l.start(ctx, o, p, files)
	}
	return err
}

// freshProcRefused recognises the kernel's refusal to show in a fresh /proc what the one outside masks.
func freshProcRefused(err error) bool {
	var setup *SetupError
	return errors.As(err, &setup) && setup.Call == callMountProc && errors.Is(err, unix.EPERM)
}

// start runs one child to its end.
func (l *Launcher) start(ctx context.Context, o order, p Process, files []*os.File) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	self, err := l.executable()
	if err != nil {
		return err
	}
	spec, err := writeOrder(o)
	if err != nil {
		return err
	}
	defer spec.Close()
	reportR, reportW, err := os.Pipe()
	if err != nil {
		return failure("create pipe", "", err)
	}
	defer reportR.Close()
	defer reportW.Close()
	out, err := openOutput(p.Stdout, p.Stderr)
	if err != nil {
		return err
	}
	// The parent death signal is sent when the parent's thread ends, so the child's parent must live as long as it does.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd := exec.CommandContext(ctx, fmt.Sprintf("/proc/self/fd/%d", self.Fd()))
	cmd.Args = []string{argStep}
	cmd.Env = []string{"GOMAXPROCS=1", "GOGC=off"} // what starts the child's runtime fastest; the command gets Process.Env
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = out.stdoutW, out.stderrW
	cmd.ExtraFiles = append([]*os.File{spec, reportW}, files...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: cloneFlags(o.Process)}
	if o.Process.Proc == ProcBound {
		release, err := supervised(cmd)
		if err != nil {
			return errors.Join(err, out.abandon())
		}
		defer release()
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(explainStart(err), out.abandon())
	}
	runtime.KeepAlive(self)
	closeErr := reportW.Close()
	out.copy()
	setupErr := receiveReport(reportR)
	waitErr := cmd.Wait()
	outErr := out.wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case setupErr != nil:
		return setupErr
	}
	return errors.Join(exitError(waitErr), outErr, closeErr)
}

func cloneFlags(p wireProcess) uintptr {
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS)
	if p.Proc != ProcBound {
		flags |= unix.CLONE_NEWPID
	}
	if p.Network == NetworkNone {
		flags |= unix.CLONE_NEWNET
	}
	return flags
}

// hintPrivilege is for whoever may not make namespaces.
const hintPrivilege = "needs root with CAP_SYS_ADMIN, or a user namespace"

func explainStart(err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return failure("start the process", "", err)
	}
	setup := &SetupError{Call: "clone with new namespaces", Err: errno}
	if errno == unix.EPERM {
		setup.Hint = hintPrivilege
	}
	return setup
}

func exitError(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return &ExitError{Code: 128 + int(status.Signal()), Signal: int(status.Signal())}
	}
	return &ExitError{Code: exit.ExitCode()}
}

// executable gives this program's file through a mount of its own that is read-only: a process that makes itself run
// /proc/self/exe, as an interpreter say, must not get hold of a file that it could write (CVE-2019-5736).
func (l *Launcher) executable() (*os.File, error) {
	l.self.Do(func() { l.selfFile, l.selfErr = openExecutable() })
	return l.selfFile, l.selfErr
}

func openExecutable() (*os.File, error) {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, failure("find own executable", "", err)
	}
	// By its name: what the link itself leads to may be a mount of another mount namespace.
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if errors.Is(err, unix.EPERM) {
		return nil, &SetupError{Call: "clone mount of own executable", Err: err, Hint: hintPrivilege}
	}
	if err != nil {
		return copyExecutable() // removed or replaced since it was started
	}
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if err != nil || !isExecutable(fd) {
		if err := unix.Close(fd); err != nil {
			return nil, failure("close own executable", "", err)
		}
		return copyExecutable() // a kernel older than 5.12, or another file of the name
	}
	return os.NewFile(uintptr(fd), path), nil
}

// isExecutable tells whether a descriptor is of the file that this program was started from.
func isExecutable(fd int) bool {
	var got, want unix.Stat_t
	return unix.Fstat(fd, &got) == nil && unix.Stat("/proc/self/exe", &want) == nil &&
		got.Dev == want.Dev && got.Ino == want.Ino
}

// copyExecutable puts this program into a sealed memory file.
func copyExecutable() (_ *os.File, err error) {
	src, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, failure("open own executable", "", err)
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	fd, err := unix.MemfdCreate("trowel", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, failure("create memory file", "", err)
	}
	dst := os.NewFile(uintptr(fd), "trowel")
	if _, err := io.Copy(dst, src); err != nil {
		return nil, errors.Join(failure("copy own executable", "", err), dst.Close())
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(dst.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, errors.Join(failure("seal own executable", "", err), dst.Close())
	}
	return dst, nil
}

// wire writes a process down, and gives the mounts that the child gets as descriptors, in their order.
func (p Process) wire() (wireProcess, []*os.File, error) {
	w := wireProcess{
		Args: p.Args, Env: p.Env, Dir: p.Dir, User: p.User, Network: p.Network, Hostname: p.Hostname, Proc: p.Proc,
		ResolvConf: p.ResolvConf, SetResolv: p.ResolvConf != nil, Hosts: p.Hosts, SetHost: p.Hosts != nil,
	}
	var files []*os.File
	for _, m := range p.Mounts {
		wm := wireMount{
			Kind: m.Kind, Target: filepath.Clean(m.Target), Layers: m.Layers, SubPath: m.SubPath, ReadOnly: m.ReadOnly,
			Size: m.Size, Content: m.Content, Mode: m.Mode, UID: m.UID, GID: m.GID,
		}
		if m.Kind == MountBind {
			mount, err := bindSource(m)
			if err != nil {
				return w, nil, errors.Join(err, closeAll(files))
			}
			wm.FD = filesFD + len(files)
			files = append(files, os.NewFile(uintptr(mount), m.Target))
		}
		w.Mounts = append(w.Mounts, wm)
	}
	return w, files, nil
}

// bindSource clones what a bind mount shows. It is done here because an open file of the builder belongs to the builder's
// mount namespace, in which the child no longer is.
func bindSource(m Mount) (int, error) {
	if m.File == nil {
		fd, err := unix.Open(m.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, failure("open mount source", m.Source, err)
		}
		mount, err := below(fd, m.SubPath)
		return mount, errors.Join(err, errorOf("close mount source", unix.Close(fd)))
	}
	raw, err := m.File.SyscallConn()
	if err != nil {
		return -1, failure("use open file as mount source", m.File.Name(), err)
	}
	mount := -1
	if controlErr := raw.Control(func(fd uintptr) { mount, err = below(int(fd), m.SubPath) }); controlErr != nil {
		return -1, failure("use open file as mount source", m.File.Name(), controlErr)
	}
	return mount, err
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
