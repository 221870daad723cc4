// Program pointers gives the host addresses and lengths that lie outside its memory. It speaks the ABI without the sdk.
package main

import "unsafe"

func main() {}

//go:wasmexport trowel_abi_1
func abiVersion() {}

//go:wasmexport trowel_call
func call(op, _ uint32) int32 {
	if op == 1 {
		return answer(`{"ok":{"name":"pointers","kinds":["credential"]}}`)
	}
	results := []int32{
		output(0xffff_fff0, 1024), output(0, 0x7fff_ffff), output(0x7fff_ffff, 0xffff_ffff),
		input(0xffff_fff0, 0, 1024), input(0, 0xffff_ffff, 4), input(0, 0, 0xffff_ffff),
		host(3, 0xffff_0000, 0xffff_ffff), reply(0xffff_fff0, 0, 16), reply(0, 0xffff_ffff, 1),
		streamRead(0xffff_ffff, 0, 16), streamWrite(0, 0xffff_fff0, 16), streamClose(0xffff_ffff),
		int32(streamSplice(0xffff_ffff, 0xffff_ffff, -1)),
	}
	logText(0xffff_ffff, 0xffff_fff0, 0xffff_ffff)
	text := ""
	for _, r := range results {
		if r < 0 {
			text += " refused"
		} else {
			text += " taken"
		}
	}
	return answer(`{"ok":{"kind":"basic","username":"` + text[1:] + `","secret":"none"}}`)
}

func answer(text string) int32 {
	return output(uint32(uintptr(unsafe.Pointer(unsafe.StringData(text)))), uint32(len(text)))
}

//go:wasmimport trowel_v1 input
func input(ptr, off, length uint32) int32

//go:wasmimport trowel_v1 output
func output(ptr, length uint32) int32

//go:wasmimport trowel_v1 host
func host(op, ptr, length uint32) int32

//go:wasmimport trowel_v1 reply
func reply(ptr, off, length uint32) int32

//go:wasmimport trowel_v1 log
func logText(level, ptr, length uint32)

//go:wasmimport trowel_v1 stream_read
func streamRead(stream, ptr, length uint32) int32

//go:wasmimport trowel_v1 stream_write
func streamWrite(stream, ptr, length uint32) int32

//go:wasmimport trowel_v1 stream_splice
func streamSplice(dst, src uint32, n int64) int64

//go:wasmimport trowel_v1 stream_close
func streamClose(stream uint32) int32
