package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// run starts a program, with its output as ours; "self" becomes it.
func run(what string, args []string) error {
	if what == "self" {
		return syscall.Exec(args[0], append([]string{"inside"}, args[1:]...), os.Environ())
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// climb looks for a file outside from every directory of /proc that it can get hold of.
func climb(marker string) error {
	up := strings.Repeat("../", 20) + strings.TrimPrefix(marker, "/")
	for _, path := range []string{"/proc", "/proc/self", "/proc/self/fd", "/proc/self/task", "/proc/self/net", "/proc/sys"} {
		dir, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
		low, err := syscall.Dup(dir)
		if err != nil {
			return err
		}
		copied := 30
		if err := syscall.Dup3(dir, copied, 0); err != nil { // which nobody sees
			return err
		}
		for _, fd := range []int{dir, low, copied} {
			if found, err := syscall.Openat(fd, up, syscall.O_RDONLY, 0); err == nil {
				fmt.Printf("%s by descriptor %d\n", path, fd)
				syscall.Close(found)
			}
			if syscall.Faccessat(fd, up, 0, 0) == nil { // Landlock does not hold this back
				fmt.Printf("%s seen by descriptor %d\n", path, fd)
			}
			if syscall.Fchdir(fd) == nil {
				if _, err := os.Stat(up); err == nil {
					fmt.Printf("%s by directory %d\n", path, fd)
				}
			}
		}
		if syscall.Chdir(path) == nil {
			if _, err := os.Stat(up); err == nil {
				fmt.Printf("%s by path\n", path)
			}
		}
	}
	return nil
}

// race opens a path that another thread rewrites all the time, and prints what it should never have read.
func race(paths []string) error {
	var path [256]byte
	var done atomic.Bool
	var turn sync.WaitGroup
	turn.Go(func() {
		for i := 0; !done.Load(); i++ {
			copy(path[:], paths[i%len(paths)]+"\x00")
		}
	})
	read := 0
	for start := time.Now(); time.Since(start) < 2*time.Second; {
		const atCWD = ^uintptr(99)
		fd, _, errno := syscall.Syscall6(syscall.SYS_OPENAT, atCWD, uintptr(unsafe.Pointer(&path[0])), syscall.O_RDONLY, 0, 0, 0)
		if errno != 0 {
			continue
		}
		text := make([]byte, 64)
		n, _ := syscall.Read(int(fd), text)
		syscall.Close(int(fd))
		if got := string(text[:max(n, 0)]); got != "known" && got != "inside\n" {
			fmt.Printf("%q\n", got)
		}
		read++
	}
	done.Store(true)
	turn.Wait()
	if read == 0 {
		return errors.New("nothing was read")
	}
	return nil
}

// storm reads in many threads and processes, some of which are killed meanwhile.
func storm() error {
	var victims []*exec.Cmd
	for range 4 {
		victim := exec.Command("/bin/inside", "race", "/proc/self/comm")
		if err := victim.Start(); err != nil {
			return err
		}
		victims = append(victims, victim)
	}
	var readers sync.WaitGroup
	var read atomic.Int64
	for i := range 200 {
		readers.Go(func() {
			for range 20 {
				if text, err := os.ReadFile("/proc/self/comm"); err == nil && string(text) == "inside\n" {
					read.Add(1)
				} else {
					fmt.Println(string(text), err)
				}
			}
		})
		if i%50 == 49 {
			victims[i/50].Process.Kill()
		}
	}
	readers.Wait()
	for _, victim := range victims {
		victim.Wait()
	}
	fmt.Println(read.Load(), "read")
	return nil
}

// fifo opens a pipe for reading by way of /proc, which waits for a writer, and goes on meanwhile.
func fifo(path string) error {
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return err
	}
	opened := make(chan error, 1)
	go func() {
		f, err := os.OpenFile("/proc/self/root"+path, os.O_RDONLY, 0)
		if err == nil {
			f.Close()
		}
		opened <- err
	}()
	time.Sleep(100 * time.Millisecond)
	for range 100 {
		if _, err := os.ReadFile("/proc/self/comm"); err != nil {
			return err
		}
	}
	select {
	case err := <-opened:
		return fmt.Errorf("opened without a writer: %w", err)
	default:
		fmt.Print("not stalled, ")
	}
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := <-opened; err != nil {
		return err
	}
	fmt.Print("then opened")
	return w.Close()
}

// undumpable lets nobody look into this process, and then asks from a thread that has not asked before.
func undumpable() error {
	runtime.LockOSThread()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return errno
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		text, err := os.ReadFile("/etc/known")
		fmt.Printf("%s; ", text)
		if _, err := os.ReadFile("/proc/self/stat"); err != nil {
			fmt.Print("no /proc")
		}
		done <- err
	}()
	return <-done
}
