package wasm

import (
	"encoding/binary"
	"slices"
)

// encoder makes modules that no compiler makes. All functions are exported; all types are (i32…) -> i32….
type encoder struct {
	imports   []encodedImport
	functions []encodedFunction
	memory    uint64 // pages; there is one if exportMemory
	// start is the name of the function that runs when the module is instantiated.
	start  string
	data   string // at the beginning of memory
	extra  []byte // sections at the end
	hidden bool   // the memory
}

type encodedImport struct {
	module, name    string
	params, results int
}

type encodedFunction struct {
	name            string
	params, results int
	code            []byte
}

// Instructions.
const (
	unreachable = 0x00
	loop        = 0x03
	end         = 0x0b
	branch      = 0x0c
	callTo      = 0x10
	localGet    = 0x20
	constant    = 0x41
	noResult    = 0x40
)

// forever is the code of an endless loop.
var forever = []byte{loop, noResult, branch, 0, end}

func i32(v int64) []byte { return append([]byte{constant}, signed(v)...) }

func signed(v int64) []byte {
	var out []byte
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

func unsigned(v int) []byte { return binary.AppendUvarint(nil, uint64(v)) }

func vector(items ...[]byte) []byte { return append(unsigned(len(items)), slices.Concat(items...)...) }

func text(s string) []byte { return append(unsigned(len(s)), s...) }

func section(id byte, body []byte) []byte {
	return slices.Concat([]byte{id}, unsigned(len(body)), body)
}

func typeOf(params, results int) []byte {
	return slices.Concat([]byte{0x60}, unsigned(params), slices.Repeat([]byte{0x7f}, params), unsigned(results), slices.Repeat([]byte{0x7f}, results))
}

func (e encoder) encode() []byte {
	var types, imports, functions, exports, codes [][]byte
	for _, i := range e.imports {
		imports = append(imports, slices.Concat(text(i.module), text(i.name), []byte{0}, unsigned(len(types))))
		types = append(types, typeOf(i.params, i.results))
	}
	start := -1
	for n, f := range e.functions {
		if f.name == e.start {
			start = len(e.imports) + n
		}
		functions = append(functions, unsigned(len(types)))
		types = append(types, typeOf(f.params, f.results))
		exports = append(exports, slices.Concat(text(f.name), []byte{0}, unsigned(len(e.imports)+n)))
		body := slices.Concat([]byte{0}, f.code, []byte{end})
		codes = append(codes, slices.Concat(unsigned(len(body)), body))
	}
	if !e.hidden {
		exports = append(exports, slices.Concat(text("memory"), []byte{2, 0}))
	}
	out := slices.Concat([]byte("\x00asm\x01\x00\x00\x00"), section(1, vector(types...)), section(2, vector(imports...)),
		section(3, vector(functions...)), section(5, slices.Concat([]byte{1, 0}, unsigned(int(e.memory)))), section(7, vector(exports...)))
	if start >= 0 {
		out = append(out, section(8, unsigned(start))...)
	}
	data := section(11, vector(slices.Concat([]byte{0}, i32(0), []byte{end}, text(e.data))))
	return slices.Concat(out, section(10, vector(codes...)), data, e.extra)
}

// assembled is a plugin whose trowel_call does what code says.
func assembled(code []byte, imports ...encodedImport) encoder {
	return encoder{
		imports: imports, memory: 1,
		functions: []encodedFunction{
			{name: "trowel_abi_1"},
			{name: "trowel_call", params: 2, results: 1, code: code},
		},
	}
}

// answering is a plugin that answers everything with {"ok":0}, in a module of a size that is not compiled while one waits.
func answering() []byte {
	const answer = `{"ok":0}`
	e := assembled(slices.Concat(i32(0), i32(int64(len(answer))), []byte{callTo, 0}), encodedImport{"trowel_v1", "output", 2, 1})
	e.data = answer
	e.extra = section(0, append(text("padding"), make([]byte, 2*small)...))
	return e.encode()
}
