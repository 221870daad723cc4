package process

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/sdk"
)

// maxProgram is the size of a program at most.
const maxProgram = 1 << 30

// program is a plugin's program, ready to be executed: nobody can change it any more.
type program struct {
	file *os.File
	dir  string // that holds it, if it is not in memory
}

// path executes the program in whichever process of ours opens it.
func (p *program) path() string { return fmt.Sprintf("/proc/self/fd/%d", p.file.Fd()) }

func (p *program) close() error {
	err := p.file.Close()
	if p.dir != "" {
		err = errors.Join(err, os.RemoveAll(p.dir))
	}
	return err
}

// loadProgram copies a program by way of place to where it can be executed and nobody can write, and then checks it: the
// digest is that of the bytes that run.
func loadProgram(source io.Reader, want sdk.Digest, place func(source io.Reader) (*program, error)) (_ *program, err error) {
	p, err := place(io.LimitReader(source, maxProgram+1))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	hash := sha256.New()
	n, err := io.Copy(hash, io.NewSectionReader(p.file, 0, maxProgram+1))
	if err != nil {
		return nil, fmt.Errorf("read the program: %w", err)
	}
	if n > maxProgram {
		return nil, &sdk.Error{Code: sdk.CodeLimit, Message: "the program is larger than 1 GiB"}
	}
	if got := sdk.Digest("sha256:" + hex.EncodeToString(hash.Sum(nil))); got != want {
		return nil, &sdk.Error{Code: sdk.CodeDenied, Message: fmt.Sprintf("the program has the digest %s, and not %s as it should", got, want)}
	}
	if err := checkELF(p.file); err != nil {
		return nil, err
	}
	return p, nil
}

// inMemory places a program in a sealed file in memory.
func inMemory(source io.Reader) (*program, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("trowel-plugin", flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // a kernel before 6.3
		fd, err = unix.MemfdCreate("trowel-plugin", flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "plugin")
	defer file.Close()
	if _, err := io.Copy(file, source); err != nil {
		return nil, fmt.Errorf("copy the program: %w", err)
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, fmt.Errorf("seal the program: %w", err)
	}
	return newProgram(file, "")
}

// inDir places a program in a directory of its own below dir, for machines that execute nothing in memory.
func inDir(dir string, source io.Reader) (_ *program, err error) {
	own, err := os.MkdirTemp(dir, "program-") // mode 0700
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(own))
		}
	}()
	path := filepath.Join(own, "plugin")
	if err := writeProgram(path, source); err != nil {
		return nil, fmt.Errorf("copy the program: %w", err)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return newProgram(file, own)
}

// writeProgram writes a file that is to be executed. Nobody may fork meanwhile: as long as another process had it open for
// writing, between its fork and its execve, it could not be.
func writeProgram(path string, source io.Reader) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o500)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, source)
	return errors.Join(err, file.Close())
}

// newProgram takes a copy of a descriptor, with a number that is out of the way: in a child, the low ones become its standard
// streams and the lifeline before it executes the program.
func newProgram(file *os.File, dir string) (*program, error) {
	const outOfTheWay = 64
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, outOfTheWay)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &program{file: os.NewFile(uintptr(fd), "plugin"), dir: dir}, nil
}

// checkELF says clearly what execve would say in one word.
func checkELF(file *os.File) error {
	f, err := elf.NewFile(file)
	if err != nil {
		return &sdk.Error{Code: sdk.CodeInvalid, Message: "the plugin is not a program (ELF) for Linux; a script has to be packed with its interpreter"}
	}
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
	if f.Machine != machine {
		return &sdk.Error{Code: sdk.CodeInvalid, Message: fmt.Sprintf("the plugin is built for %s, and this machine is %s", f.Machine, runtime.GOARCH)}
	}
	return nil
}
