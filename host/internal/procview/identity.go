//go:build amd64

package procview

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// credentials are what the kernel asks for when a thread opens a file.
type credentials struct {
	uid, gid uint32 // those for files
	groups   []uint32
	caps     uint64 // effective
}

func (c credentials) equal(d credentials) bool {
	return c.uid == d.uid && c.gid == d.gid && c.caps == d.caps && slices.Equal(c.groups, d.groups)
}

// identity is what /proc/PID/status says of a thread.
type identity struct {
	credentials
	tgid  int
	umask uint32
}

// actor is a thread of ours that can act with a caller's rights. Its goroutine is locked to the thread, and the calls below
// act on this thread alone, unlike those of package syscall.
type actor struct {
	own   uint64 // the capabilities that we have
	now   credentials
	known bool // whether now is true
}

// become acts as somebody from now on. The capabilities are at most our own.
func (a *actor) become(c credentials) error {
	c.caps &= a.own
	if a.known && a.now.equal(c) {
		return nil
	}
	a.known = false
	if err := setEffective(a.own, a.own); err != nil { // to be allowed what follows
		return err
	}
	var first unsafe.Pointer
	if len(c.groups) > 0 {
		first = unsafe.Pointer(&c.groups[0])
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(c.groups)), uintptr(first), 0); errno != 0 {
		return fmt.Errorf("set groups: %w", errno)
	}
	if err := setFileID(unix.SYS_SETFSGID, c.gid); err != nil {
		return err
	}
	if err := setFileID(unix.SYS_SETFSUID, c.uid); err != nil {
		return err
	}
	if err := setEffective(a.own, c.caps); err != nil {
		return err
	}
	a.now, a.known = c, true
	return nil
}

// setFileID asks for the ID after it was set: these calls report no errors.
func setFileID(call uintptr, id uint32) error {
	_, _, _ = unix.RawSyscall(call, uintptr(id), 0, 0)
	if got, _, _ := unix.RawSyscall(call, uintptr(^uint32(0)), 0, 0); uint32(got) != id {
		return fmt.Errorf("become %d for files: still %d", id, uint32(got))
	}
	return nil
}

func setEffective(permitted, effective uint64) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Permitted: uint32(permitted), Effective: uint32(effective)},
		{Permitted: uint32(permitted >> 32), Effective: uint32(effective >> 32)},
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0); errno != 0 {
		return fmt.Errorf("set capabilities: %w", errno)
	}
	return nil
}

var errStatus = errors.New("read status of the caller: malformed")

// parseStatus reads the text of /proc/PID/status.
func parseStatus(text []byte) (identity, error) {
	var id identity
	var err error
	seen := 0
	for line := range bytes.Lines(text) {
		name, rest, _ := bytes.Cut(line, []byte(":\t"))
		rest = bytes.TrimSpace(rest)
		switch string(name) {
		case "Tgid":
			id.tgid, err = strconv.Atoi(string(rest))
		case "Umask":
			id.umask, err = parseNumber(rest, 8)
		case "Uid":
			id.uid, err = fourth(rest)
		case "Gid":
			id.gid, err = fourth(rest)
		case "Groups":
			for field := range bytes.FieldsSeq(rest) {
				group, groupErr := parseNumber(field, 10)
				id.groups, err = append(id.groups, group), errors.Join(err, groupErr)
			}
		case "CapEff":
			id.caps, err = strconv.ParseUint(string(rest), 16, 64)
		default:
			continue
		}
		if seen++; err != nil {
			return id, errStatus
		}
	}
	if seen != 6 {
		return id, errStatus // a thread that is ending has no umask
	}
	return id, nil
}

// fourth is the ID for files: after the real, effective and saved ones.
func fourth(ids []byte) (uint32, error) {
	fields := bytes.Fields(ids)
	if len(fields) != 4 {
		return 0, errStatus
	}
	return parseNumber(fields[3], 10)
}

func parseNumber(text []byte, base int) (uint32, error) {
	n, err := strconv.ParseUint(string(text), base, 32)
	return uint32(n), err
}
