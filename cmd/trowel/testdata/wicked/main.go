// Command wicked is what a RUN should not run.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := act(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func act(what string, args []string) error {
	switch what {
	case "die": // by the kernel: a process 1 is deaf to what it sends itself
		if err := syscall.Setrlimit(syscall.RLIMIT_CPU, &syscall.Rlimit{Cur: 1, Max: 1}); err != nil {
			return err
		}
		for { //nolint:revive // to use time is the purpose
		}
	case "kill-all":
		return syscall.Kill(-1, syscall.SIGKILL)
	case "daemon": // keeps standard output open, in a session of its own
		cmd := exec.Command(os.Args[0], "wait")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			return err
		}
		fmt.Println("started")
	case "wait":
		time.Sleep(1000 * time.Second)
	case "spew":
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		line := []byte(strings.Repeat("x", 1<<16))
		if len(args) > 1 {
			line = []byte(strings.Repeat("a short line of output\n", 1<<12))
		}
		for ; n > 0; n -= len(line) {
			if _, err := os.Stdout.Write(line); err != nil {
				return err
			}
		}
	case "fill":
		n, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil {
			return err
		}
		f, err := os.Create(args[0])
		if err != nil {
			return err
		}
		for block := make([]byte, 1<<16); n > 0; n -= int64(len(block)) {
			if _, err := f.Write(block); err != nil {
				return err
			}
		}
		return f.Close()
	case "paint":
		fmt.Print("\x1b[31mred\x1b]0;title\x07\r over\x1b[2J\x00\x80\xff\n")
	default:
		return fmt.Errorf("unknown %q", what)
	}
	return nil
}
