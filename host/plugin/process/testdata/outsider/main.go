// Program outsider tries to reach a process, and prints what it could do: outsider PID SOCKET. With a third argument it only
// speaks to the socket, and prints whether it was answered.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	pid, _ := strconv.Atoi(os.Args[1])
	socket := os.Args[2]
	if len(os.Args) > 3 {
		fmt.Println(ask(socket))
		return
	}
	attempts := []struct {
		name string
		try  func() error
	}{
		{"see", func() error { return sameProgram(pid) }},
		{"signal", func() error { return syscall.Kill(pid, 0) }},
		{"ptrace", func() error {
			if err := syscall.PtraceAttach(pid); err != nil {
				return err
			}
			var status syscall.WaitStatus
			_, err := syscall.Wait4(pid, &status, 0, nil)
			return joined(err, syscall.PtraceDetach(pid))
		}},
		{"read memory", func() error { return readMemory(pid) }},
		{"connect", func() error {
			conn, err := net.Dial("unix", socket)
			if err == nil {
				conn.Close()
			}
			return err
		}},
		{"find the socket", func() error { _, err := os.Lstat(socket); return err }},
	}
	for _, a := range attempts {
		if a.try() == nil {
			fmt.Println(a.name)
		}
	}
}

// ask begins to speak HTTP/2, which a server answers at once.
func ask(socket string) string {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return "closed"
	}
	return "answered"
}

func joined(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// sameProgram finds the process by its arguments: another may have its number.
func sameProgram(pid int) error {
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err == nil && string(args) != "trowel-plugin-raw\x00" {
		err = os.ErrNotExist
	}
	return err
}

// readMemory reads the start of the process's own file, mapped where the linker puts it.
func readMemory(pid int) error {
	if err := sameProgram(pid); err != nil {
		return err
	}
	buffer := make([]byte, 4)
	local := syscall.Iovec{Base: &buffer[0], Len: 4}
	remote := struct{ base, size uintptr }{0x400000, 4}
	n, _, errno := syscall.Syscall6(unix.SYS_PROCESS_VM_READV, uintptr(pid), uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1, 0)
	if errno != 0 || n != 4 {
		return errno
	}
	return nil
}
