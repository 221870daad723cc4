package executor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// ForeignError says that the machine does not run programs of another architecture.
type ForeignError struct {
	Architecture string
	Err          error
}

// Error implements error.
func (e *ForeignError) Error() string {
	return fmt.Sprintf("this machine runs no programs for %s: %v", e.Architecture, e.Err)
}

// Unwrap returns the cause.
func (e *ForeignError) Unwrap() error { return e.Err }

// Hint is what can be done.
func (e *ForeignError) Hint() string {
	return "register an emulator, with the flag F, as the packages qemu-user-static and binfmt-support do, or " +
		"docker run --privileged --rm tonistiigi/binfmt --install " + e.Architecture +
		"; FROM --platform=$BUILDPLATFORM makes a stage run on this machine's platform, whatever it builds for"
}

// CanRun finds out whether processes of an architecture, in Go's words, can be run here: natively or by an emulator that the
// kernel knows. It does a step with the smallest program there is, on files that it makes in dir and removes. Nothing
// else tells: what is registered cannot be seen in most containers, nor whether a root file system hides it.
func (l *Launcher) CanRun(ctx context.Context, rung Rung, dir, architecture string) error {
	if architecture == runtime.GOARCH {
		return nil
	}
	m, ok := machines[architecture]
	if !ok {
		return &ForeignError{architecture, errors.New("nobody told how to find out")}
	}
	try := l.tryProgram
	if rung.plain() {
		try = func(ctx context.Context, dir string, program []byte) error {
			return l.tryPlainProgram(ctx, rung, dir, program)
		}
	}
	err := try(ctx, dir, m.program())
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return &ForeignError{architecture, err}
	}
	return nil
}

// tryProgram runs a program that needs nothing else, in a root file system of its own.
func (l *Launcher) tryProgram(ctx context.Context, dir string, program []byte) (err error) {
	root, remove, err := probeRootfs(dir)
	if err != nil {
		return err
	}
	defer also(&err, remove)
	const name = "program"
	if err := writeExecutable(filepath.Join(root.LayersDir, "base", name), program); err != nil {
		return failure("write program to probe with", dir, err)
	}
	return l.Run(ctx, root, Process{Args: []string{"/" + name}, Dir: "/", Network: NetworkNone})
}

// tryPlainProgram is tryProgram in a plain directory.
func (l *Launcher) tryPlainProgram(ctx context.Context, rung Rung, dir string, program []byte) (err error) {
	root, remove, err := probePlain(dir)
	if err != nil {
		return err
	}
	defer also(&err, remove)
	const name = "program"
	if err := writeExecutable(filepath.Join(root.Dir, name), program); err != nil {
		return failure("write program to probe with", dir, err)
	}
	_, err = l.RunPlain(ctx, rung, root, Process{Args: []string{"/" + name}, Dir: "/"})
	return err
}

// writeExecutable writes a file that can be executed at once: no child that is forked meanwhile holds it open for writing.
func writeExecutable(path string, program []byte) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, program, 0o755)
}

// machine is what an ELF file says of the machine it is for.
type machine struct {
	class elfClass
	order byteOrder
	id    uint16
	flags uint32
	code  []uint32 // of exit(0), an instruction each; of bytes where instructions have no common length
}

// byteOrder is that of both kinds.
type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// elfClass is the size of an address.
type elfClass byte

const (
	elf32 elfClass = 1
	elf64 elfClass = 2
)

// machines are those for which images exist, by Go's names. Each program sets the number of the system call exit and its
// argument 0, and makes it.
var machines = map[string]machine{
	"386":      {elf32, binary.LittleEndian, 3, 0, []uint32{0x01b8db31, 0xcd000000, 0x80}},                 // xor ebx,ebx; mov eax,1; int 0x80
	"amd64":    {elf64, binary.LittleEndian, 62, 0, []uint32{0x3cb8ff31, 0x0f000000, 0x05}},                // xor edi,edi; mov eax,60; syscall
	"arm":      {elf32, binary.LittleEndian, 40, 0x05000200, []uint32{0xe3a00000, 0xe3a07001, 0xef000000}}, // mov r0,#0; mov r7,#1; svc 0
	"arm64":    {elf64, binary.LittleEndian, 183, 0, []uint32{0xd2800000, 0xd2800ba8, 0xd4000001}},         // mov x0,#0; mov x8,#93; svc 0
	"loong64":  {elf64, binary.LittleEndian, 258, 0x43, []uint32{0x02800004, 0x0281740b, 0x002b0000}},      // addi.w a0,zero,0; addi.w a7,zero,93; syscall 0
	"mips64le": {elf64, binary.LittleEndian, 8, 0x80000007, []uint32{0x24040000, 0x240213c2, 0x0000000c}},  // li a0,0; li v0,5058; syscall
	"ppc64le":  {elf64, binary.LittleEndian, 21, 2, []uint32{0x38600000, 0x38000001, 0x44000002}},          // li r3,0; li r0,1; sc
	"riscv64":  {elf64, binary.LittleEndian, 243, 0, []uint32{0x00000513, 0x05d00893, 0x00000073}},         // li a0,0; li a7,93; ecall
	"s390x":    {elf64, binary.BigEndian, 22, 0, []uint32{0xa7290000, 0x0a010000}},                         // lghi r2,0; svc 1
}

// program is an ELF file that exits with code 0.
func (m machine) program() []byte {
	const (
		address = 0x400000
		page    = 0x10000 // the largest that any of the machines has
	)
	header, entry := uint64(64), uint64(56) // of the file, and of its one segment
	if m.class == elf32 {
		header, entry = 52, 32
	}
	size := header + entry + uint64(4*len(m.code))
	data := byte(1)
	if m.order == binary.BigEndian {
		data = 2
	}
	w := elfWriter{out: []byte{0x7f, 'E', 'L', 'F', byte(m.class), data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, machine: m}
	w.half(2) // executable
	w.half(m.id)
	w.word(1)
	w.address(address + header + entry) // where it starts
	w.address(header)
	w.address(0) // no sections
	w.word(m.flags)
	for _, n := range []uint64{header, entry, 1, 0, 0, 0} {
		w.half(uint16(n))
	}
	w.word(1) // a segment to load
	if m.class == elf64 {
		w.word(5) // to read and execute
	}
	for _, n := range []uint64{0, address, address, size, size} {
		w.address(n)
	}
	if m.class == elf32 {
		w.word(5)
	}
	w.address(page)
	for _, c := range m.code {
		w.word(c)
	}
	return w.out
}

type elfWriter struct {
	machine
	out []byte
}

func (w *elfWriter) half(n uint16) { w.out = w.order.AppendUint16(w.out, n) }

func (w *elfWriter) word(n uint32) { w.out = w.order.AppendUint32(w.out, n) }

func (w *elfWriter) address(n uint64) {
	if w.class == elf32 {
		w.word(uint32(n))
		return
	}
	w.out = w.order.AppendUint64(w.out, n)
}
