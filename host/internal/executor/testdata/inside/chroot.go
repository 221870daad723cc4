package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"
)

const (
	prCapBoundingRead  = 23
	prGetNoNewPrivs    = 39
	prCapAmbient       = 47
	prCapAmbientIsSet  = 1
	lastCapability     = 40
	capabilityVersion3 = 0x20080522
)

// rights prints what a process without /proc can find out of its own rights: 32 capabilities are all that matter.
func rights() error {
	var header struct {
		version uint32
		pid     int32
	}
	header.version = capabilityVersion3
	var data [2]struct{ effective, permitted, inheritable uint32 }
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CAPGET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0); errno != 0 {
		return errno
	}
	var bounding uint64
	ambient := 0
	for c := uintptr(0); c <= lastCapability; c++ {
		if set, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, prCapBoundingRead, c, 0); set == 1 {
			bounding |= 1 << c
		}
		if set, _, _ := syscall.RawSyscall6(syscall.SYS_PRCTL, prCapAmbient, prCapAmbientIsSet, c, 0, 0, 0); set == 1 {
			ambient++
		}
	}
	none, _, _ := syscall.RawSyscall6(syscall.SYS_PRCTL, prGetNoNewPrivs, 0, 0, 0, 0, 0)
	fmt.Printf("permitted %s effective %s inheritable %s bounding %s ambient %d no_new_privs %d",
		bits(data[0].permitted), bits(data[0].effective), bits(data[0].inheritable), bits(uint32(bounding)), ambient, none)
	if bounding>>32 != 0 || data[1].permitted != 0 {
		fmt.Print(" and more")
	}
	return nil
}

func bits(n uint32) string { return fmt.Sprintf("%04x_%04x", n>>16, n&0xffff) }

// descriptors prints those that are open, but for what the Go runtime opened.
func descriptors() error {
	var open []string
	for fd := range 256 {
		var st syscall.Stat_t
		if syscall.Fstat(fd, &st) != nil || fd > 2 && st.Mode&syscall.S_IFMT == 0 { // an anonymous inode
			continue
		}
		open = append(open, fmt.Sprint(fd))
	}
	fmt.Print(strings.Join(open, " "))
	return nil
}

// replace puts a file in the place of a directory.
func replace(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.WriteFile(dir, []byte("a file"), 0o644)
}
