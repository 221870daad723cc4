//go:build amd64

package procview

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// execve cannot be answered with a program: the kernel opens the path itself. So at /proc/self/exe of the root lies a small
// program that asks readlink("/proc/self/exe") what to become, and becomes it. If it has no name any more, as a file in
// memory, it opens /proc/self/exe for a descriptor of it. The server remembers the answer when it sees the call.

// standInPath is where programs look for themselves.
const standInPath = "/proc/self/exe"

// standInCode is, in the order of its lines: keep the start of the stack, which holds argc, argv and envp; readlink into a
// buffer below; execve what it says; else open and execveat with AT_EMPTY_PATH; else exit_group(126).
func standInCode() []byte {
	code := []byte{
		0x49, 0x89, 0xe4, // mov r12, rsp
		0x48, 0x81, 0xec, 0x08, 0x10, 0x00, 0x00, // sub rsp, 4104
		0xb8, 0x59, 0x00, 0x00, 0x00, // mov eax, 89 (readlink)
		0x48, 0x8d, 0x3d, 0x74, 0x00, 0x00, 0x00, // lea rdi, [path]
		0x48, 0x89, 0xe6, // mov rsi, rsp
		0xba, 0xff, 0x0f, 0x00, 0x00, // mov edx, 4095
		0x0f, 0x05, // syscall
		0x48, 0x85, 0xc0, // test rax, rax
		0x7e, 0x1e, // jle open
		0xc6, 0x04, 0x04, 0x00, // mov byte [rsp+rax], 0
		0x48, 0x89, 0xe7, // mov rdi, rsp
		0x49, 0x8d, 0x74, 0x24, 0x08, // lea rsi, [r12+8]
		0x49, 0x8b, 0x14, 0x24, // mov rdx, [r12]
		0x48, 0x8d, 0x54, 0xd6, 0x08, // lea rdx, [rsi+rdx*8+8]
		0xb8, 0x3b, 0x00, 0x00, 0x00, // mov eax, 59 (execve)
		0x0f, 0x05, // syscall
		0xeb, 0x3b, // jmp fail
		// open:
		0xb8, 0x02, 0x00, 0x00, 0x00, // mov eax, 2 (open)
		0x48, 0x8d, 0x3d, 0x3b, 0x00, 0x00, 0x00, // lea rdi, [path]
		0xbe, 0x00, 0x00, 0x08, 0x00, // mov esi, O_CLOEXEC
		0x0f, 0x05, // syscall
		0x85, 0xc0, // test eax, eax
		0x78, 0x24, // js fail
		0x89, 0xc7, // mov edi, eax
		0x48, 0x8d, 0x35, 0x35, 0x00, 0x00, 0x00, // lea rsi, [empty]
		0x49, 0x8d, 0x54, 0x24, 0x08, // lea rdx, [r12+8]
		0x4d, 0x8b, 0x14, 0x24, // mov r10, [r12]
		0x4e, 0x8d, 0x54, 0xd2, 0x08, // lea r10, [rdx+r10*8+8]
		0x41, 0xb8, 0x00, 0x10, 0x00, 0x00, // mov r8d, AT_EMPTY_PATH
		0xb8, 0x42, 0x01, 0x00, 0x00, // mov eax, 322 (execveat)
		0x0f, 0x05, // syscall
		// fail:
		0xbf, 0x7e, 0x00, 0x00, 0x00, // mov edi, 126
		0xb8, 0xe7, 0x00, 0x00, 0x00, // mov eax, 231 (exit_group)
		0x0f, 0x05, // syscall
	}
	return append(append(code, standInPath...), 0) // path:, whose end is empty:
}

// standIn is that code as an ELF program of one segment.
func standIn() []byte {
	const base, headers = 0x400000, 64 + 56
	code := standInCode()
	le := binary.LittleEndian
	out := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	out = le.AppendUint16(out, 2)            // an executable
	out = le.AppendUint16(out, 62)           // for x86-64
	out = le.AppendUint32(out, 1)            // ELF version
	out = le.AppendUint64(out, base+headers) // entry
	out = le.AppendUint64(out, 64)           // program headers, right behind
	out = le.AppendUint64(out, 0)            // no sections
	out = le.AppendUint32(out, 0)            // flags
	for _, n := range []uint16{64, 56, 1, 0, 0, 0} {
		out = le.AppendUint16(out, n)
	}
	out = le.AppendUint32(out, 1) // to be loaded,
	out = le.AppendUint32(out, 5) // readable and executable
	size := uint64(headers + len(code))
	for _, n := range []uint64{0, base, base, size, size, 0x1000} {
		out = le.AppendUint64(out, n)
	}
	return append(out, code...)
}

// placeStandIn puts the program at an absolute path below the root's /proc, with its directories.
func placeStandIn(path string) error {
	dir, name, err := makeDirectories(path)
	if err != nil {
		return fmt.Errorf("make directories of %q: %w", path, err)
	}
	defer closeFD(dir)
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o755)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create %q: %w", path, err)
	}
	defer closeFD(fd)
	if err := unix.Fchmod(fd, 0o555); err != nil {
		return fmt.Errorf("create %q: %w", path, err)
	}
	if _, err := unix.Write(fd, standIn()); err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return nil
}
