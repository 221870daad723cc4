package manifest

import (
	"errors"
	"fmt"
)

// MaxModule is how large a Wasm module may be.
const MaxModule = 32 << 20

// The most there may be of something in a module. A compiler believes the counts that a module states and makes room for
// them before it reads on: seventeen bytes can ask for hundreds of gigabytes. The limits are some ten times what the
// largest of ordinary programs have.
const (
	mostFunctions = 200_000
	mostImports   = 1000
	mostExports   = 20_000
	mostItems     = 100_000   // types, globals, segments; Go's linker makes up to as many data segments
	mostElements  = 1_000_000 // of all tables, by their initial size as by their segments
	mostLocals    = 50_000    // of a function
	allLocals     = 8_000_000
	mostNames     = 2_000_000
)

// Vet refuses a Wasm module that would cost a compiler far more memory than its size, or that is none. It does not
// validate: what it passes may be wrong in any other way.
func Vet(program []byte) error {
	if len(program) > MaxModule {
		return fmt.Errorf("the WebAssembly module has %d bytes, and may have %d", len(program), MaxModule)
	}
	v := &vetting{}
	return eachSection(program, func(s section) error {
		r := &reader{b: s.body}
		if s.id == sectionCustom {
			if s.name == "name" {
				v.names(r)
			}
		} else if v.standard(s.id, r); r.err == nil && r.at != len(r.b) {
			r.fail(errors.New("it is longer than what it holds"))
		}
		if r.err != nil {
			return fmt.Errorf("WebAssembly module: section %d at %d: %w", s.id, s.start, r.err)
		}
		return nil
	})
}

// vetting counts what limits are for.
type vetting struct{ elements, locals, named uint64 }

func (v *vetting) standard(id byte, r *reader) {
	switch id {
	case sectionType:
		r.each("types", mostItems, 3, func() {
			if r.byte() != 0x60 {
				r.fail(errors.New("a type is that of no function"))
			}
			r.each("parameters", 1000, 1, func() { r.byte() })
			r.each("results", 1000, 1, func() { r.byte() })
		})
	case sectionImport:
		r.each("imports", mostImports, 4, func() { v.importing(r) })
	case sectionFunc:
		r.each("functions", mostFunctions, 1, func() { r.u32() })
	case sectionTable:
		r.each("tables", 100, 3, func() { v.table(r) })
	case sectionMemory:
		r.each("memories", 1, 2, func() { r.limits() })
	case sectionGlobal:
		r.each("globals", mostItems, 4, func() { r.byte(); r.byte(); r.constant() })
	case sectionExport:
		r.each("exports", mostExports, 3, func() { r.take(r.u32()); r.byte(); r.u32() })
	case sectionStart, sectionDataCount:
		if n := r.u32(); id == sectionDataCount && n > mostItems {
			r.tooMany("data segments", uint64(n), mostItems)
		}
	case sectionElement:
		r.each("element segments", mostItems, 3, func() { v.element(r) })
	case sectionCode:
		r.each("functions", mostFunctions, 3, func() { v.function(r) })
	case sectionData:
		r.each("data segments", mostItems, 2, func() { r.dataSegment() })
	default:
		r.fail(errors.New("its number has no meaning"))
	}
}

// each reads a count and calls read as often. Nothing takes less than least bytes.
func (r *reader) each(what string, most, least uint64, read func()) {
	n := uint64(r.u32())
	switch {
	case r.err != nil:
		return
	case n > most:
		r.tooMany(what, n, most)
	case n*least > uint64(len(r.b)-r.at):
		r.fail(errShort)
	}
	for ; n > 0 && r.err == nil; n-- {
		read()
	}
}

func (r *reader) tooMany(what string, n, most uint64) {
	r.fail(fmt.Errorf("it has %d %s, and may have %d", n, what, most))
}

func (v *vetting) importing(r *reader) {
	r.take(r.u32())
	r.take(r.u32())
	switch kind := r.byte(); kind {
	case 0:
		r.u32()
	case 1:
		v.table(r)
	case 2:
		r.limits()
	case 3:
		r.byte()
		r.byte()
	default:
		r.fail(fmt.Errorf("an import is of the kind %d, which is not supported", kind))
	}
}

func (v *vetting) table(r *reader) {
	r.byte()
	if v.elements += r.limits().Min; v.elements > mostElements {
		r.tooMany("elements in tables", v.elements, mostElements)
	}
}

// element reads a segment, whose flags say what it is made of (core specification §5.5.12).
func (v *vetting) element(r *reader) {
	flags := r.u32()
	if flags > 7 {
		r.fail(fmt.Errorf("an element segment has the unknown flags %#x", flags))
		return
	}
	if flags&1 == 0 { // active
		if flags&2 != 0 {
			r.u32()
		}
		r.constant()
	}
	if flags&3 != 0 {
		r.byte() // its kind or type
	}
	read := func() { r.u32() }
	if flags&4 != 0 {
		read = r.constant
	}
	r.each("elements", mostElements, 1, func() {
		if v.elements++; v.elements > mostElements {
			r.tooMany("elements", v.elements, mostElements)
		}
		read()
	})
}

// function reads the locals of a function and passes over its instructions.
func (v *vetting) function(r *reader) {
	body := &reader{b: r.take(r.u32())}
	var sum uint64
	body.each("groups of locals", mostLocals, 2, func() {
		sum += uint64(body.u32())
		body.byte()
	})
	v.locals += sum
	if sum > mostLocals {
		body.tooMany("locals in a function", sum, mostLocals)
	}
	if v.locals > allLocals {
		body.tooMany("locals in all functions", v.locals, allLocals)
	}
	if body.err != nil {
		r.fail(body.err)
	}
}

func (r *reader) dataSegment() {
	switch flags := r.u32(); flags {
	case 0:
		r.constant()
	case 1:
	case 2:
		r.u32()
		r.constant()
	default:
		r.fail(fmt.Errorf("a data segment has the unknown flags %#x", flags))
	}
	r.take(r.u32())
}

// constant passes over a constant expression (core specification §3.3.10).
func (r *reader) constant() {
	for r.err == nil {
		switch op := r.byte(); op {
		case 0x0b:
			return
		case 0x23, 0xd2: // global.get, ref.func
			r.u32()
		case 0x41: // i32.const
			r.signed(5)
		case 0x42: // i64.const
			r.signed(10)
		case 0x43: // f32.const
			r.take(4)
		case 0x44: // f64.const
			r.take(8)
		case 0xd0: // ref.null
			r.signed(5)
		case 0xfd: // v128.const
			r.u32()
			r.take(16)
		case 0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e: // add, sub and mul
		default:
			r.fail(fmt.Errorf("a constant has the instruction %#x", op))
		}
	}
}

// signed passes over a signed LEB128 integer.
func (r *reader) signed(most int) {
	for range most {
		if r.byte() < 0x80 {
			return
		}
	}
	r.fail(errInteger)
}

// names reads the section of names (core specification §7.4.1), of which compilers read modules, functions and locals.
func (v *vetting) names(r *reader) {
	count := func(inner *reader, read func()) {
		inner.each("names", mostNames, 2, func() {
			if v.named++; v.named > mostNames {
				inner.tooMany("names", v.named, mostNames)
			}
			inner.u32()
			read()
		})
	}
	for r.at < len(r.b) && r.err == nil {
		id := r.byte()
		inner := &reader{b: r.take(r.u32())}
		name := func() { inner.take(inner.u32()) }
		switch id {
		case 0:
			name()
		case 1:
			count(inner, name)
		case 2:
			count(inner, func() { count(inner, name) })
		default:
			continue
		}
		if inner.err == nil && inner.at != len(inner.b) {
			inner.fail(errors.New("names are shorter than they say"))
		}
		if inner.err != nil {
			r.fail(inner.err)
		}
	}
}
