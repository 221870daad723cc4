// Package guest serves a plugin as a WebAssembly module. Authors call Main of package sdk/plugin, which calls Main here
// when it is built for GOOS=wasip1 with -buildmode=c-shared; for other targets this package is empty.
//
// # The interface between host and module
//
// A module exports its memory and three functions:
//
//	_initialize()                 starts the language's runtime; optional
//	trowel_abi_1()                does nothing: its name says which major version of the interface the module speaks
//	trowel_call(op, len i32) i32  answers an operation whose request has len bytes; 0 if it wrote an answer
//
// It may import these functions from the module trowel_v1. All memory belongs to the guest; the host copies during a call
// and keeps no pointer. A negative result is a negated errno of Linux: 5 (EIO) a stream failed, 9 (EBADF) no such stream, 14
// (EFAULT) a pointer outside the memory, 22 (EINVAL) an argument that makes no sense, 27 (EFBIG) more than the limit.
//
//	input(ptr, off, len i32) i32              copies up to len bytes of the request from off; the number copied
//	output(ptr, len i32) i32                  appends to the answer; 0
//	host(op, ptr, len i32) i32                performs an operation of the host; the length of its answer
//	reply(ptr, off, len i32) i32              copies that answer, as input does
//	log(level, ptr, len i32)                  shows a message: 0 debug, 1 information, 2 warning, 3 error
//	stream_read(h, ptr, len i32) i32          reads from a stream that the request names; 0 at its end
//	stream_write(h, ptr, len i32) i32         writes all of it; len
//	stream_splice(dst, src i32, n i64) i64    moves n bytes from one stream to another, all that there is if n is negative
//	stream_close(h i32) i32                   says that a stream is no longer needed; 0
//
// An instance of a module answers one call at a time. The host drops it after a trap, an exit or a call that took too long.
package guest
