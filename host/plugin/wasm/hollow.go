package wasm

import (
	"encoding/binary"
	"fmt"
)

// sectionCode is that of the bodies of functions.
const sectionCode = 10

// hollow is a module with the bodies of its functions taken out: each is a trap. Whoever has the compiled code needs nothing
// else of a module, and is spared to read and validate the bodies, which is most of the work of loading it.
func hollow(module []byte) ([]byte, error) {
	const header = 8 // the magic number and the version
	if len(module) < header {
		return nil, invalid("the module is damaged: it ends early")
	}
	out := append(make([]byte, 0, len(module)), module[:header]...)
	d := &decoder{rest: module[header:]}
	for len(d.rest) > 0 {
		id, size := d.byte(), d.number()
		body := d.bytes(size)
		if d.err != nil {
			return nil, invalid("the module is damaged: " + d.err.Error())
		}
		if id == sectionCode {
			var err error
			if body, err = traps(body); err != nil {
				return nil, err
			}
		}
		out = binary.AppendUvarint(append(out, id), uint64(len(body)))
		out = append(out, body...)
	}
	return out, nil
}

// traps is a code section with as many functions, none of which does anything.
func traps(code []byte) ([]byte, error) {
	d := &decoder{rest: code}
	n := d.number()
	if n > uint64(len(code)) {
		return nil, invalid(fmt.Sprintf("the module is damaged: it has %d functions in %d bytes", n, len(code)))
	}
	out := binary.AppendUvarint(nil, n)
	for range n {
		out = append(out, 3, 0, 0x00, 0x0b) // three bytes: no local variables, unreachable, end
	}
	return out, d.err
}
