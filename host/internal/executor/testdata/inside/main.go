// Command inside is the program that the tests run in a root file system. Its first argument says what it does; it prints
// what it finds and exits 1 with a message where that fails.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	if err := do(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func do(what string, args []string) error {
	switch what {
	case "true":
		return nil
	case "exit":
		code, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		os.Exit(code)
	case "die":
		return die()
	case "say":
		fmt.Print(args[0])
		fmt.Fprint(os.Stderr, args[1])
		return nil
	case "env":
		fmt.Print(strings.Join(os.Environ(), "\n"))
		return nil
	case "cwd":
		dir, err := os.Getwd()
		fmt.Print(dir)
		return err
	case "id":
		groups, err := os.Getgroups()
		fmt.Printf("%d %d %v %03o", os.Getuid(), os.Getgid(), groups, syscall.Umask(0))
		return err
	case "host":
		name, err := os.Hostname()
		fmt.Print(name)
		return err
	case "cat":
		return cat(args)
	case "ls":
		return ls(args[0])
	case "link":
		target, err := os.Readlink(args[0])
		fmt.Print(target)
		return err
	case "connect":
		c, err := net.Dial("unix", args[0])
		if err == nil {
			err = c.Close()
		}
		return err
	case "kind":
		st, err := os.Lstat(args[0])
		if err == nil {
			fmt.Print(st.Mode())
		}
		return err
	case "run", "self":
		return run(what, args)
	case "climb":
		return climb(args[0])
	case "race":
		return race(args)
	case "storm":
		return storm()
	case "fifo":
		return fifo(args[0])
	case "undumpable":
		return undumpable()
	case "links":
		return links(args[0])
	}
	return change(what, args)
}

// change is what do does to files and to other processes.
func change(what string, args []string) error {
	switch what {
	case "write":
		return os.WriteFile(args[0], []byte(args[1]), 0o644)
	case "append":
		return appendTo(args[0], args[1])
	case "rm":
		return os.RemoveAll(args[0])
	case "mkdir":
		return os.Mkdir(args[0], 0o755)
	case "all":
		return all(args)
	case "mknod":
		return syscall.Mknod(args[0], syscall.S_IFCHR|0o600, 1<<8|3)
	case "mode":
		return syscall.Chmod(args[0], 0o600)
	case "interfaces":
		return interfaces()
	case "background":
		return background(args[0], args[1:]...)
	case "hop":
		return hop()
	case "unwatch":
		return errors.Join(syscall.Kill(os.Getppid(), syscall.SIGKILL), syscall.Kill(os.Getpid(), syscall.SIGSTOP))
	case "halt":
		for watcher := os.Getppid(); ; {
			_ = syscall.Kill(watcher, syscall.SIGSTOP) // again and again
			_, _ = os.Stdout.WriteString("halted")
		}
	case "hold":
		return hold(args[0])
	case "escape":
		return escape(args[0])
	case "attack":
		return attack(args[0])
	case "never":
		return never(args[0], args[1])
	case "plugin":
		return plugin(args[0])
	case "stay":
		time.Sleep(time.Hour)
		return nil
	case "calls":
		return calls()
	case "same":
		var a, b syscall.Stat_t
		err := errors.Join(syscall.Stat(args[0], &a), syscall.Stat(args[1], &b))
		if a.Dev == b.Dev && a.Ino == b.Ino {
			fmt.Print("same")
		}
		return err
	case "stat":
		return stat(args)
	case "rights":
		return rights()
	case "descriptors":
		return descriptors()
	case "mv":
		return os.Rename(args[0], args[1])
	case "replace":
		return replace(args[0])
	}
	return fmt.Errorf("do what: %q", what)
}

// die is killed by a filter: no other signal of its own reaches process 1.
func die() error {
	type instruction struct {
		code   uint16
		jt, jf uint8
		k      uint32
	}
	filter := []instruction{{code: 6, k: 0x80000000}} // return KILL_PROCESS
	program := struct {
		length uint16
		filter *instruction
	}{1, &filter[0]}
	const setNoNewPrivileges, filterMode = 38, 2
	syscall.RawSyscall6(syscall.SYS_PRCTL, setNoNewPrivileges, 1, 0, 0, 0, 0)
	_, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_SECCOMP, filterMode, uintptr(unsafe.Pointer(&program)))
	return errno
}

// all does several things, divided by ";".
func all(args []string) error {
	for len(args) > 0 {
		end := len(args)
		for i, a := range args {
			if a == ";" {
				end = i
				break
			}
		}
		if err := do(args[0], args[1:end]); err != nil {
			return err
		}
		args = args[min(end+1, len(args)):]
	}
	return nil
}

func cat(paths []string) error {
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		os.Stdout.Write(text)
	}
	return nil
}

func ls(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		fmt.Println(e.Name())
	}
	return err
}

func links(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err == nil {
			fmt.Println(e.Name(), target)
		}
	}
	return err
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Close()
}

func stat(paths []string) error {
	for _, path := range paths {
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil {
			return err
		}
		fmt.Printf("%s %o %d:%d\n", path, st.Mode, st.Rdev>>8, st.Rdev&0xff)
	}
	return nil
}

func interfaces() error {
	all, err := net.Interfaces()
	for _, i := range all {
		fmt.Println(i.Name, i.Flags&net.FlagUp != 0)
	}
	return err
}

// background leaves a process behind that holds the output and a lock. A user may be named.
func background(lock string, user ...string) error {
	cmd := exec.Command("/bin/inside", "hold", lock)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if len(user) > 0 {
		id, err := strconv.ParseUint(user[0], 10, 32)
		if err != nil {
			return err
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(id), Gid: uint32(id)}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	// Return when the lock is taken for itself alone, which is after it was said.
	for {
		f, err := os.Open(lock)
		if err != nil {
			return err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
		f.Close()
		if err != nil {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

// hop leaves a process behind that does the same without end, each time as another process.
func hop() error {
	cmd := exec.Command("/bin/inside", "hop")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}

// hold locks a file for as long as it lives.
func hold(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		return err
	}
	fmt.Println("held")
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	time.Sleep(time.Hour)
	return f.Close()
}

// escape is the classic way out of a chroot.
func escape(marker string) error {
	if err := os.MkdirAll("/tmp/hole", 0o755); err != nil {
		return err
	}
	if err := syscall.Chroot("/tmp/hole"); err != nil {
		return err
	}
	for range 64 {
		if err := syscall.Chdir(".."); err != nil {
			return err
		}
	}
	_, relative := os.Stat("." + marker)
	if err := syscall.Chroot("."); err != nil {
		return err
	}
	_, absolute := os.Stat(marker)
	if relative == nil || absolute == nil {
		fmt.Println("escaped")
	}
	return nil
}

// attack tries what one process can do to another.
func attack(victim string) error {
	pid, err := strconv.Atoi(victim)
	if err != nil {
		return err
	}
	if syscall.Kill(pid, 0) == nil {
		fmt.Println("signal")
	}
	if text, err := os.ReadFile("/proc/" + victim + "/environ"); err == nil {
		fmt.Printf("environ %d\n", len(text))
	}
	if f, err := os.Open("/proc/" + victim + "/mem"); err == nil {
		fmt.Println("mem", f.Close())
	}
	fds, _ := os.ReadDir("/proc/" + victim + "/fd") // the numbers are no secret
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/" + victim + "/fd/" + fd.Name()); err == nil {
			fmt.Println("fd", target)
		}
	}
	if _, err := os.Stat("/proc/" + victim + "/root/"); err == nil {
		fmt.Println("root")
	}
	if syscall.PtraceAttach(pid) == nil {
		fmt.Println("ptrace")
	}
	return nil
}

// calls makes system calls that the filter refuses, with arguments that the kernel would refuse otherwise.
func calls() error {
	for _, c := range refused {
		_, _, errno := syscall.RawSyscall6(c.number, c.args[0], c.args[1], c.args[2], 0, 0, 0)
		fmt.Printf("%s %d\n", c.name, errno)
	}
	return nil
}

type call struct {
	name   string
	number uintptr
	args   [3]uintptr
}
