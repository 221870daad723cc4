package manifest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

const (
	wasmMagic = "\x00asm"
	// SectionName is the custom section that holds a module's manifest.
	SectionName = "trowel.manifest"
)

// Sections of a module, by their number in the WebAssembly core specification §5.5.2.
const (
	sectionCustom    = 0
	sectionType      = 1
	sectionImport    = 2
	sectionFunc      = 3
	sectionTable     = 4
	sectionMemory    = 5
	sectionGlobal    = 6
	sectionExport    = 7
	sectionStart     = 8
	sectionElement   = 9
	sectionCode      = 10
	sectionData      = 11
	sectionDataCount = 12
)

// section is a piece of a module: bytes from start to end of the whole, of which body is the content.
type section struct {
	id         byte
	start, end int
	name       string // of a custom section
	body       []byte // of a custom section, what follows the name
}

// checkWasmVersion refuses what only looks like a module.
func checkWasmVersion(program []byte) error {
	if len(program) < 8 {
		return errors.New("the WebAssembly module ends in its header")
	}
	switch version := binary.LittleEndian.Uint32(program[4:]); version {
	case 1:
		return nil
	case 1<<16 | 0x0d:
		return errors.New("it is a WebAssembly component, and plugins are core modules: build it for wasip1")
	default:
		return fmt.Errorf("its WebAssembly version is %#x, and must be 1", version)
	}
}

// eachSection calls visit for all sections in order.
func eachSection(program []byte, visit func(section) error) error {
	if err := checkWasmVersion(program); err != nil {
		return err
	}
	r := reader{b: program, at: 8}
	for r.at < len(program) {
		s := section{start: r.at}
		s.id = r.byte()
		size := r.u32()
		content := r.take(size)
		if r.err != nil {
			return fmt.Errorf("WebAssembly module: section at %d: %w", s.start, r.err)
		}
		s.end, s.body = r.at, content
		if s.id == sectionCustom {
			inner := reader{b: content}
			if s.name = inner.text(); inner.err != nil {
				return fmt.Errorf("WebAssembly module: name of the section at %d: %w", s.start, inner.err)
			}
			s.body = content[inner.at:]
		}
		if err := visit(s); err != nil {
			return err
		}
	}
	return nil
}

// wasmManifest finds the manifest's section.
func wasmManifest(program []byte) ([]byte, error) {
	var found []byte
	err := eachSection(program, func(s section) error {
		if s.id != sectionCustom || s.name != SectionName {
			return nil
		}
		if found != nil {
			return fmt.Errorf("it has two sections %q", SectionName)
		}
		found = s.body
		return nil
	})
	if err == nil && found == nil {
		err = ErrNone
	}
	return found, err
}

// withSection returns the module with the manifest as its last section, and without those it had.
func withSection(program, text []byte) ([]byte, error) {
	out := append(make([]byte, 0, len(program)+len(text)+32), program[:8]...)
	err := eachSection(program, func(s section) error {
		if s.id != sectionCustom || s.name != SectionName {
			out = append(out, program[s.start:s.end]...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	body := binary.AppendUvarint(nil, uint64(len(SectionName)))
	body = append(append(body, SectionName...), text...)
	out = append(out, sectionCustom)
	out = binary.AppendUvarint(out, uint64(len(body)))
	return append(out, body...), nil
}

var (
	errShort   = errors.New("it ends too soon")
	errInteger = errors.New("an integer is out of its range")
)

// reader reads a module's encoding (core specification §5.2). After the first error it returns zeros.
type reader struct {
	b   []byte
	at  int
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) byte() byte {
	if r.err != nil || r.at >= len(r.b) {
		r.fail(errShort)
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

// u32 reads an unsigned LEB128 integer of at most five bytes and 32 bits.
func (r *reader) u32() uint32 { return uint32(r.leb(5, 32)) }

// u64 is the same with ten bytes and 64 bits.
func (r *reader) u64() uint64 { return r.leb(10, 64) }

func (r *reader) leb(most, bits int) uint64 {
	var v uint64
	for i := range most {
		c := r.byte()
		if r.err != nil {
			return 0
		}
		if i == most-1 && c>>(bits-7*i) != 0 {
			r.fail(errInteger)
			return 0
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v
		}
	}
	r.fail(errInteger)
	return 0
}

// take returns the next n bytes.
func (r *reader) take(n uint32) []byte {
	if r.err != nil || uint64(n) > uint64(len(r.b)-r.at) {
		r.fail(errShort)
		return nil
	}
	r.at += int(n)
	return r.b[r.at-int(n) : r.at : r.at]
}

// text reads a name.
func (r *reader) text() string {
	b := r.take(r.u32())
	if !utf8.Valid(b) {
		r.fail(errors.New("a name is not UTF-8"))
		return ""
	}
	return string(b)
}
