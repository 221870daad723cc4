package guest

import "unsafe"

// The functions that the host gives a module; see the package's documentation.

//go:wasmimport trowel_v1 input
func hostInput(ptr unsafe.Pointer, off, length uint32) int32

//go:wasmimport trowel_v1 output
func hostOutput(ptr unsafe.Pointer, length uint32) int32

//go:wasmimport trowel_v1 host
func hostDo(op uint32, ptr unsafe.Pointer, length uint32) int32

//go:wasmimport trowel_v1 reply
func hostReply(ptr unsafe.Pointer, off, length uint32) int32

//go:wasmimport trowel_v1 log
func hostLog(level uint32, ptr unsafe.Pointer, length uint32)

//go:wasmimport trowel_v1 stream_read
func hostStreamRead(stream uint32, ptr unsafe.Pointer, length uint32) int32

//go:wasmimport trowel_v1 stream_write
func hostStreamWrite(stream uint32, ptr unsafe.Pointer, length uint32) int32

//go:wasmimport trowel_v1 stream_splice
func hostStreamSplice(dst, src uint32, n int64) int64

//go:wasmimport trowel_v1 stream_close
func hostStreamClose(stream uint32) int32
