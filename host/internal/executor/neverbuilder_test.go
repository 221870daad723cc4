package executor

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// neverBuilder is a builder that has what a process must not reach: in the tests' own process, or in a container.
type neverBuilder struct {
	run     func(change func(*Process), args ...string) (string, error)
	image   string // the directory of the root file system's files, in which links can be laid
	program string // the one inside, by the name that it has for the process

	canary  string
	secret  string // what the file with credentials holds, and the builder's memory file
	memory  []byte // which holds the canary
	file    int    // an open file that does
	dir     int    // an open directory with such a file
	files   map[string]string
	outside string // a directory that no mount may get into
	plugin  neverTarget
	ends    []func() error
}

// neverTarget is target in testdata/inside.
type neverTarget struct {
	Program, Canary string
	PID             int
	Address         uintptr
	FD              int
	Files           map[string]string
	Token           string
}

// newNeverBuilder puts everything there: files below work, as a builder has them, and a credential.
func newNeverBuilder(work, credential, program string) (_ *neverBuilder, err error) {
	canary := rand.Text()
	b := &neverBuilder{canary: canary, memory: []byte(canary), outside: filepath.Join(work, "outside"), program: program}
	b.files = map[string]string{
		"credential": credential, "cache": work + "/cache/entry", "stage": work + "/stages/other/file", "outside": b.outside + "/canary",
		"socket": work + "/socket", "abstract": "@trowel-never-" + canary,
	}
	b.secret = rand.Text()
	for _, name := range []string{"credential", "cache", "stage", "outside"} {
		err = errors.Join(err, os.MkdirAll(filepath.Dir(b.files[name]), 0o755), os.WriteFile(b.files[name], []byte(b.holds(name)), 0o600))
	}
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"socket", "abstract"} {
		l, err := net.Listen("unix", b.files[name])
		if err != nil {
			return nil, errors.Join(err, b.close())
		}
		b.ends = append(b.ends, l.Close)
	}
	for _, leak := range []struct {
		fd   *int
		path string
	}{{&b.file, b.files["outside"]}, {&b.dir, b.outside}} {
		// Leaked, as from whoever started the builder: nothing closes it at execve.
		if *leak.fd, err = unix.Open(leak.path, unix.O_RDONLY, 0); err != nil {
			return nil, errors.Join(err, b.close())
		}
		b.ends = append(b.ends, func() error { return unix.Close(*leak.fd) })
	}
	return b, b.remember()
}

// holds is what a file holds.
func (b *neverBuilder) holds(name string) string {
	if name == "credential" {
		return b.secret
	}
	return b.canary
}

// remember has the credential in a memory file, as the builder has what it takes off the disk.
func (b *neverBuilder) remember() error {
	fd, err := unix.MemfdCreate("never", unix.MFD_CLOEXEC)
	if err != nil {
		return errors.Join(err, b.close())
	}
	memory := os.NewFile(uintptr(fd), "memory")
	b.ends = append(b.ends, memory.Close)
	_, err = memory.WriteString(b.secret)
	return err
}

// startPlugin starts a process as which a plugin stands there, with a variable of its own. In place the host stops it while a
// RUN runs.
func (b *neverBuilder) startPlugin(program string, stopped bool) error {
	cmd := exec.Command(program, "plugin", b.canary)
	cmd.Env = []string{"PLUGIN=" + b.canary}
	canary, err := os.Open(b.files["outside"])
	if err != nil {
		return err
	}
	cmd.ExtraFiles = []*os.File{canary}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := errors.Join(cmd.Start(), canary.Close()); err != nil {
		return err
	}
	b.ends = append(b.ends, func() error {
		return errors.Join(cmd.Process.Signal(unix.SIGCONT), in.Close(), cmd.Process.Kill(), endedSomehow(cmd.Wait()))
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return err
	}
	b.plugin.FD = 3
	if _, err := fmt.Sscan(line, &b.plugin.PID, &b.plugin.Address); err != nil {
		return err
	}
	if stopped {
		return cmd.Process.Signal(unix.SIGSTOP)
	}
	return nil
}

func endedSomehow(err error) error {
	if errors.As(err, new(*exec.ExitError)) {
		return nil
	}
	return err
}

func (b *neverBuilder) close() error {
	var errs []error
	for _, end := range b.ends {
		errs = append(errs, end())
	}
	runtime.KeepAlive(b.memory)
	return errors.Join(errs...)
}

// outcome is what came of an attack.
type outcome struct {
	Row      string
	Possible bool
	Detail   string
	Err      string // the test is broken, not the attack
}

// try makes the attack of a row.
func (b *neverBuilder) try(row neverRow) outcome {
	o := outcome{Row: row.name()}
	var err error
	switch row.attack {
	case "workdir":
		o.Possible, o.Detail, err = b.tryDirectories()
	case "symlink mount", "symlink dev":
		o.Possible, err = b.trySymlink(row.attack)
	default:
		o.Possible, o.Detail, err = b.attack(row, nil)
	}
	if err != nil {
		o.Err = err.Error()
	}
	return o
}

// attack runs the program, and looks for what it has done.
func (b *neverBuilder) attack(row neverRow, change func(*Process)) (possible bool, detail string, err error) {
	t := neverTarget{Program: b.program, Canary: b.holds(row.on), PID: os.Getpid(), Address: uintptr(unsafe.Pointer(&b.memory[0])), FD: b.file, Token: rand.Text()}
	if row.on == "plugin" {
		t.PID, t.Address, t.FD = b.plugin.PID, b.plugin.Address, b.plugin.FD
	}
	t.Files = map[string]string{"read": b.files["outside"], "socket": b.files["socket"], "abstract": b.files["abstract"]}
	if path := b.files[row.on]; path != "" {
		t.Files["read"], t.Files["write"] = path, path
	}
	spec, err := json.Marshal(t)
	if err != nil {
		return false, "", err
	}
	out, runErr := b.run(change, "never", row.attack, string(spec))
	switch row.attack {
	case "stay", "orphan":
		left, err := endAll(t.Token)
		return left > 0, out, err
	case "write":
		text, err := os.ReadFile(t.Files["write"])
		possible = string(text) != b.canary
		return possible, out, errors.Join(err, os.WriteFile(t.Files["write"], []byte(b.canary), 0o600))
	}
	if out != "possible" && !strings.HasPrefix(out, "no: ") {
		return false, out, fmt.Errorf("the attack did not end: %q: %w", out, runErr)
	}
	return out == "possible", out, nil
}

// endAll kills the processes that an attack has left behind, and counts them.
func endAll(token string) (int, error) {
	time.Sleep(20 * time.Millisecond) // one that has just been killed is no outcome
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	left := 0
	for _, path := range all {
		text, readErr := os.ReadFile(path)
		if readErr != nil || !bytes.HasSuffix(text, []byte("\x00stay\x00"+token+"\x00")) {
			continue
		}
		pid := 0
		if _, err := fmt.Sscanf(path, "/proc/%d/cmdline", &pid); err != nil {
			return left, err
		}
		left++
		err = errors.Join(err, unix.Kill(pid, unix.SIGKILL))
	}
	return left, err
}

// tryDirectories starts processes in directories that only the builder has, by the descriptors that it has or had.
func (b *neverBuilder) tryDirectories() (bool, string, error) {
	dirs := []string{fmt.Sprintf("/proc/self/fd/%d", b.dir), fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), b.dir), fmt.Sprintf("/proc/%d/cwd", os.Getpid())}
	for fd := range 12 {
		dirs = append(dirs, fmt.Sprintf("/proc/self/fd/%d", fd))
	}
	detail := ""
	for _, dir := range dirs {
		possible, out, err := b.attack(neverRow{attack: "here"}, func(p *Process) { p.Dir = dir })
		switch {
		case possible:
			return true, dir, nil
		case err != nil && !errors.As(err, new(*SetupError)) && b.image != "":
			return false, out, err
		case err != nil: // it did not start
			out = err.Error()
		}
		detail = out
	}
	return false, detail, nil
}

// trySymlink lays a link to the directory outside where a mount, or /dev, is to be. Whatever is made or removed in a directory
// moves its time.
func (b *neverBuilder) trySymlink(what string) (possible bool, err error) {
	link, mounts := filepath.Join(b.image, "link"), []Mount{{Kind: MountTmpfs, Target: "/link"}}
	if what == "symlink dev" {
		link, mounts = filepath.Join(b.image, "dev"), nil
		aside := filepath.Join(b.image, "tmp/dev")
		if err := os.Rename(link, aside); err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, os.Rename(aside, link)) }()
	}
	if err := os.Symlink(b.outside, link); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.Remove(link)) }()
	var before, after unix.Stat_t
	if err := unix.Stat(b.outside, &before); err != nil {
		return false, err
	}
	_, _ = b.run(func(p *Process) { p.Mounts = mounts }, "write", link[len(b.image):]+"/null", "evil") // refused or not
	if err := unix.Stat(b.outside, &after); err != nil {
		return false, err
	}
	if err := os.Remove(b.outside + "/null"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	return before.Mtim != after.Mtim, nil
}
