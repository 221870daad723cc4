package guest

import (
	"context"
	"runtime"
	"unsafe"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// Handler answers an operation with an envelope: the Handle method of an [abi.Server].
type Handler func(ctx context.Context, host abi.Host, op abi.Op, request []byte) []byte

// Main serves p. It returns at once: the host calls the module when it needs it.
func Main(p sdk.Plugin) { Serve(abi.NewServer(p).Handle) }

// Serve answers operations by handle, for who would rather deal with bytes than with package sdk.
func Serve(handle Handler) { served.handle = handle }

// served is what the instance serves. It is mutable state of the package because an exported function of a module has no
// receiver; an instance is called by one caller at a time.
var served struct {
	handle  Handler
	started bool
}

// mainMain is the author's main. A module built with -buildmode=c-shared runs the packages' initialisation and never main.
//
//go:linkname mainMain main.main
func mainMain()

// abiVersion says by its exported name which major version of the interface this is.
//
//go:wasmexport trowel_abi_1
func abiVersion() {}

// call answers an operation.
//
// Gosched lets the collector's goroutines run: a module gets no other chance to, and without it the memory of an instance may
// grow with every call.
//
//go:wasmexport trowel_call
func call(op, length uint32) int32 {
	defer runtime.Gosched()
	if !served.started {
		served.started = true
		mainMain()
	}
	if served.handle == nil {
		logText(sdk.LevelError, "the program's main does not call plugin.Main")
		return -errnoNoSys
	}
	request := make([]byte, length)
	if n := hostInput(pointer(request), 0, length); n != int32(length) {
		return -errnoIO
	}
	envelope := served.handle(context.Background(), host{}, abi.Op(op), request)
	return hostOutput(pointer(envelope), uint32(len(envelope)))
}

// The errnos that matter on this side.
const (
	errnoIO    = 5
	errnoNoSys = 38
)

func pointer(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }
