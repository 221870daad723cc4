// Program raw is a plugin that answers operations of its own, by which the tests look at a plugin from the inside.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
	"github.com/trowel-build/trowel/sdk/process"
)

func main() {
	switch os.Getenv("MODE") {
	case "noise":
		fmt.Println("loading config…")
	case "exit":
		fmt.Fprintln(os.Stderr, "no license found")
		os.Exit(3)
	case "silent":
		time.Sleep(time.Hour)
	case "elsewhere":
		fmt.Println("1|1|unix|/run/docker.sock|grpc|" + strings.Repeat("A", 600))
		time.Sleep(time.Hour)
	case "plain":
		fmt.Println("1|1|unix|" + os.Getenv("PLUGIN_UNIX_SOCKET_DIR") + "/plugin.sock|grpc|")
		time.Sleep(time.Hour)
	case "future":
		fmt.Println("1|7|unix|" + os.Getenv("PLUGIN_UNIX_SOCKET_DIR") + "/plugin.sock|grpc|" + strings.Repeat("A", 600))
		time.Sleep(time.Hour)
	}
	process.Serve("raw", func() process.Handler { return handle })
}

func handle(ctx context.Context, host abi.Host, op abi.Op, request []byte) []byte {
	if op == abi.OpHello {
		return []byte(`{"ok":{"name":"raw","hello":` + string(request) + `}}`)
	}
	answer, err := perform(ctx, host, op, request)
	if err != nil {
		return abi.Fail(err)
	}
	return answer
}

// The operations. The tests have the same numbers.
const (
	opEcho = 1000 + iota
	opHost
	opRead
	opWrite
	opCopy
	opExit
	opLoop
	opWait
	opLook
	opChild
	opPrint
	opLog
	opLarge
	opMemory
	opFlood
)

func perform(ctx context.Context, host abi.Host, op abi.Op, request []byte) ([]byte, error) {
	n, _ := strconv.Atoi(string(request))
	switch op {
	case opEcho:
		return request, nil
	case opHost:
		return host.Do(ctx, abi.HostEnv, request)
	case opRead:
		n, err := io.Copy(io.Discard, host.Reader(ctx, 1))
		return fmt.Appendf(nil, "%d %d", n, peak()), err
	case opWrite:
		chunk := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		for n > 0 {
			wrote, err := host.Writer(ctx, 2).Write(chunk[:min(n, len(chunk))])
			if n -= wrote; err != nil {
				return nil, err
			}
		}
		return fmt.Appendf(nil, "%d", peak()), nil
	case opCopy:
		n, err := io.Copy(host.Writer(ctx, 2), host.Reader(ctx, 1))
		return strconv.AppendInt(nil, n, 10), err
	case opExit:
		fmt.Fprintln(os.Stderr, "the disk is on fire")
		os.Exit(n)
	case opLoop:
		for { //nolint:staticcheck // that is the point
		}
	case opWait:
		<-ctx.Done()
		return nil, context.Cause(ctx)
	case opLook:
		return look()
	case opChild:
		return child(string(request))
	case opPrint:
		fmt.Println(string(request))
		if _, err := syscall.Write(1, append(request, '\n')); err != nil { // as a library in C does
			return nil, err
		}
		fmt.Fprintln(os.Stderr, string(request))
		return []byte("printed"), nil
	case opLog:
		host.Log(ctx, sdk.LevelWarning, string(request))
		return []byte("logged"), nil
	case opLarge:
		return make([]byte, n), nil
	case opMemory:
		b := make([]byte, n)
		for i := range b {
			b[i] = 1
		}
		return []byte("got it"), nil
	case opFlood:
		for {
			host.Log(ctx, sdk.LevelDebug, strings.Repeat("x", 8<<10))
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
		}
	}
	return nil, errors.New("unknown operation")
}

// peak is the most memory that this process had, in bytes.
func peak() int64 {
	status, _ := os.ReadFile("/proc/self/status")
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, _ = fmt.Sscan(after, &kib)
	return kib << 10
}

// look tells what the process finds itself with.
func look() ([]byte, error) {
	stdin, err := io.ReadAll(os.Stdin)
	if err != nil {
		return nil, err
	}
	original, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		return nil, err
	}
	var files []string
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			files = append(files, to)
		}
	}
	dir, _ := os.Getwd()
	status, _ := os.ReadFile("/proc/self/status")
	var core syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_CORE, &core)
	dumpable, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, 3, 0, 0)
	return json.Marshal(map[string]any{
		"stdin": string(stdin), "env": strings.Split(strings.TrimRight(string(original), "\x00"), "\x00"), "envNow": os.Environ(),
		"files": files, "dir": dir, "status": string(status), "core": core.Max, "dumpable": dumpable,
		"pid": os.Getpid(), "pgrp": syscall.Getpgrp(),
	})
}

// child starts a process that does nothing, and returns its number.
func child(how string) ([]byte, error) {
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe") // it outlives the call
	cmd.Env = []string{"MODE=silent"}
	if how == "holding output" {
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	}
	if how == "escaped" {
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%d %d", os.Getpid(), cmd.Process.Pid), nil
}
