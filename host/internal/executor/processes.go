package executor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// process is what /proc tells of one.
type process struct {
	id, parent, session int
	began               uint64 // in ticks since the machine started
}

// eachProcess calls f with every process that can be seen.
func eachProcess(f func(process) error) error {
	all, err := os.ReadDir("/proc")
	if err != nil {
		return failure("list processes", "", err)
	}
	for _, entry := range all {
		id, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if p, ok := processOf(id); ok {
			if err := f(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// processOf reads the fields after the command's name, which may hold anything but ends at the last parenthesis.
func processOf(id int) (process, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
	if err != nil {
		return process{}, false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return process{}, false
	}
	p := process{id: id}
	var errs [3]error
	p.parent, errs[0] = strconv.Atoi(string(fields[1]))
	p.session, errs[1] = strconv.Atoi(string(fields[3]))
	p.began, errs[2] = strconv.ParseUint(string(fields[19]), 10, 64)
	return p, errors.Join(errs[:]...) == nil
}

// kill kills a process, which may be gone. Root without CAP_KILL may kill its own processes alone, but can become another user.
func kill(id int) error {
	err := unix.Kill(id, unix.SIGKILL)
	if errors.Is(err, unix.EPERM) {
		err = killAsOwner(id)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return failure("kill process", strconv.Itoa(id), err)
	}
	return nil
}

// killAsOwner lends a thread the real user ID of a process; the effective one, and all rights with it, it keeps.
func killAsOwner(id int) error {
	owner, err := ownerOf(id)
	if err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		const keep = ^uintptr(0)
		own := os.Getuid()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, owner, keep, keep); errno != 0 {
			runtime.UnlockOSThread()
			done <- errno
			return
		}
		err := unix.Kill(id, unix.SIGKILL)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(own), keep, keep); errno == 0 {
			runtime.UnlockOSThread() // otherwise the thread ends with its goroutine
		}
		done <- err
	}()
	return <-done
}

// ownerOf reads the real user ID of a process: its directory may belong to root although it does not.
func ownerOf(id int) (uintptr, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", id))
	if errors.Is(err, os.ErrNotExist) {
		return 0, unix.ESRCH
	}
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(text, []byte("\nUid:"))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0, unix.ESRCH
	}
	uid, err := strconv.ParseUint(string(fields[0]), 10, 32)
	return uintptr(uid), err
}
