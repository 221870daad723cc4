// Package wasm runs plugins that are WebAssembly modules. A module gets memory up to a limit, time up to a deadline, and what
// [transport.Services] does for it; it has no files, no network, no environment and no arguments.
//
//	plugin.go    Open, Call, Hello, Compile, Close; call.go does a call
//	module.go    what a module must be, checked before any of it is compiled or run
//	engine.go    where compiled modules are kept
//	ahead.go     code that the program carries, compiled before it was built; hollow.go is what it is loaded with,
//	             and prefetch.go loads it before the module is there
//	tier.go      a module ready to be instantiated: interpreted at first, compiled when the compiler is done
//	stint.go     when an interpreted module is worth compiling
//	pool.go      instances, each used by one call at a time
//	instance.go  starts, calls and ends one; memory.go is its memory, wasi.go its clock, randomness and outputs
//	session.go   what a module can ask of the host during a call; functions.go has it as imports
//	errors.go    what became of a call that failed
//
// The interface between host and module is described in package sdk/guest.
//
// An instance is dropped after any error: a module that trapped is left in a state of which nothing is known, and the
// runtime would call it again all the same.
package wasm
