// Probe does what tests of the transport ask, by operation: see the constants. It deals with bytes, below package sdk.
package main

import (
	"context"
	"crypto/rand"
	"io"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
	"github.com/trowel-build/trowel/sdk/guest"
)

func main() { guest.Serve(handle) }

// state is what one instance keeps from call to call.
var state struct {
	calls int
	kept  [][]byte
}

func handle(ctx context.Context, host abi.Host, op abi.Op, request []byte) []byte {
	if op == abi.OpHello {
		return hello(request)
	}
	state.calls++
	switch op {
	case abi.OpPlan:
		for string(request) == "ask" { // until the host says stop
			if envelope, err := host.Do(ctx, abi.HostReadFile, nil); err != nil || string(envelope) == "stop" {
				return abi.OK([]byte("{}"))
			}
		}
		// Everything that could differ between two instances.
		return []byte(observe())
	case abi.OpDescribe, 100:
		return request
	case 101:
		panic("on request")
	case 102:
		os.Exit(7)
	case 103:
		for n := 0; ; n++ {
			state.calls = n
		}
	case 104:
		time.Sleep(time.Hour)
	case 105:
		for {
			state.kept = append(state.kept, make([]byte, 1<<20))
			clear(state.kept[len(state.kept)-1])
		}
	case 106:
		envelope, err := host.Do(ctx, abi.HostEnv, request)
		if err != nil {
			return abi.Fail(err)
		}
		return envelope
	case 107: // the length of stream 1
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{host.Reader(ctx, 1)}, make([]byte, 64<<10))
		return number(n, err)
	case 108: // stream 1 to stream 2 through the module
		n, err := io.CopyBuffer(struct{ io.Writer }{host.Writer(ctx, 2)}, struct{ io.Reader }{host.Reader(ctx, 1)}, make([]byte, 64<<10))
		return number(n, err)
	case 109: // stream 1 to stream 2 on the host's side
		n, err := io.Copy(host.Writer(ctx, 2), host.Reader(ctx, 1))
		return number(n, err)
	case 110:
		return make([]byte, abi.MaxResponse+1)
	case 111:
		os.Stdout.WriteString("to stdout\nand ")
		os.Stderr.WriteString("to stderr\n")
		os.Stdout.WriteString("more")
		host.Log(ctx, sdk.LevelWarning, string(request))
		return abi.OK([]byte("{}"))
	case 112:
		return []byte(strconv.Itoa(state.calls))
	case 113: // much garbage, none kept
		state.kept = [][]byte{make([]byte, 1<<20)}
		state.kept = nil
		return request
	case 114:
		return []byte(environment())
	case 115:
		deeper(0)
	case 116:
		state.kept = append(state.kept, make([]byte, 20<<20))
		return abi.OK([]byte("{}"))
	case 117: // keeps using a stream after it closed it
		r := host.Reader(ctx, 1)
		err := r.(io.Closer).Close()
		if err == nil {
			_, err = r.Read(make([]byte, 1))
		}
		return abi.Fail(err)
	case 118: // the wall clock, the time that passed while it slept 20 ms, randomness
		start := time.Now()
		time.Sleep(20 * time.Millisecond)
		return []byte(strconv.FormatInt(start.UnixMilli(), 10) + " " + strconv.FormatInt(time.Since(start).Milliseconds(), 10) + " " + random())
	}
	return nil
}

func hello(request []byte) []byte {
	switch string(request) {
	case "loop":
		for n := 0; ; n++ {
			state.calls = n
		}
	case "panic":
		panic("at start")
	case "refuse":
		return abi.Fail(&sdk.Error{Code: sdk.CodeInvalid, Message: "config: bucket is missing"})
	}
	return abi.OK(append(append([]byte{'"'}, request...), '"'))
}

func number(n int64, err error) []byte {
	if err != nil {
		return abi.Fail(err)
	}
	return []byte(strconv.FormatInt(n, 10))
}

func random() string {
	b := make([]byte, 8)
	rand.Read(b)
	return strconv.Quote(string(b))
}

func observe() string {
	seen := strconv.FormatInt(time.Now().UnixNano(), 10) + " " + random() + " " + strconv.Itoa(state.calls)
	m := map[int]bool{}
	for n := range 100 {
		m[n] = true
	}
	for n := range m {
		seen += " " + strconv.Itoa(n)
	}
	return seen
}

func environment() string {
	_, err := os.ReadFile("/etc/passwd")
	n, stdin := os.Stdin.Read(make([]byte, 1))
	_, dir := os.ReadDir("/")
	return "args " + strconv.Itoa(len(os.Args)) + " env " + strconv.Itoa(len(os.Environ())) + " stdin " + strconv.Itoa(n) + " " +
		strconv.FormatBool(stdin == io.EOF) + " file " + strconv.FormatBool(err != nil) + " dir " + strconv.FormatBool(dir != nil) + " " + runtime.GOOS
}

func deeper(n int) int {
	var block [1 << 10]byte
	block[n%len(block)] = byte(deeper(n + 1))
	return int(block[n%len(block)])
}
