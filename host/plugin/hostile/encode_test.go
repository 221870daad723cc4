package hostile_test

import (
	"encoding/binary"
	"slices"
)

// handmade is a module as no compiler makes it. Imports are functions of the type (i32, i32) -> i32, and have the indices
// from 0; trowel_abi_1, trowel_call and _initialize follow them.
type handmade struct {
	imports    [][2]string
	call       []byte // of trowel_call, which leaves an i32
	initialize []byte // of _initialize, if there is one
	data       string // at address 0
}

// Instructions, and the types of functions.
const (
	opLoop, opEnd, opBranch, opCall, opLocal, opConst = 0x03, 0x0b, 0x0c, 0x10, 0x20, 0x41

	typeNothing, typeCall = 0, 1
)

var (
	endless = []byte{opLoop, 0x40, opBranch, 0, opEnd}
	// itself calls the function that comes second after the imports, with its own arguments.
	itself = []byte{opLocal, 0, opLocal, 1, opCall, 1}
)

func leb(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

func named(s string) []byte { return append(leb(len(s)), s...) }

func list(items [][]byte) []byte { return append(leb(len(items)), slices.Concat(items...)...) }

func sized(b []byte) []byte { return append(leb(len(b)), b...) }

// encode makes the module.
func (h handmade) encode() []byte {
	const function, memory = 0, 2
	var imports, functions, exports, bodies [][]byte
	for _, i := range h.imports {
		imports = append(imports, slices.Concat(named(i[0]), named(i[1]), []byte{function, typeCall}))
	}
	add := func(name string, kind byte, code []byte) {
		exports = append(exports, slices.Concat(named(name), []byte{function}, leb(len(h.imports)+len(functions))))
		functions = append(functions, []byte{kind})
		bodies = append(bodies, sized(slices.Concat([]byte{0}, code, []byte{opEnd})))
	}
	add("trowel_abi_1", typeNothing, nil)
	add("trowel_call", typeCall, h.call)
	if h.initialize != nil {
		add("_initialize", typeNothing, h.initialize)
	}
	exports = append(exports, slices.Concat(named("memory"), []byte{memory, 0}))
	out := []byte("\x00asm\x01\x00\x00\x00")
	for _, s := range []struct {
		id   byte
		body []byte
	}{
		{1, list([][]byte{{0x60, 0, 0}, {0x60, 2, 0x7f, 0x7f, 1, 0x7f}})},
		{2, list(imports)},
		{3, list(functions)},
		{5, []byte{1, 0, 1}},
		{7, list(exports)},
		{10, list(bodies)},
		{11, list([][]byte{slices.Concat([]byte{0, opConst, 0, opEnd}, named(h.data))})},
	} {
		out = append(append(out, s.id), sized(s.body)...)
	}
	return out
}

// polite is a module that answers everything as a credential plugin may answer Hello.
func polite() handmade {
	const answer = `{"ok":{"name":"polite","kinds":["credential"]}}`
	return handmade{
		imports: [][2]string{{"trowel_v1", "output"}}, data: answer,
		call: []byte{opConst, 0, opConst, byte(len(answer)), opCall, 0},
	}
}
