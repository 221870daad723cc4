// Package abi is the contract of package sdk as bytes: the operations, the messages that they carry, the codec that turns
// messages into JSON and back without reflection, and the two ends, [Client] and [Server], that turn calls of the sdk
// interfaces into operations and operations into calls. Both transports, Wasm and processes, carry these same bytes.
//
// A request is a message; an answer is an envelope: {"ok":MESSAGE} or {"error":{"code":…,"message":…}}. Unknown fields are
// ignored and absent ones are zero, so that fields can be added. Operations are added under new numbers and never change;
// the Hello operation tells each side what the other knows.
//
//	op.go        operations
//	message.go   messages that are not types of package sdk
//	codec_gen.go the codec, made by the program in gen from these types and sdk's
//	schema/      the same as JSON Schema, for other languages
package abi

//go:generate go run ./gen
