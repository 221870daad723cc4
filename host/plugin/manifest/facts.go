package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Facts are what can be seen of a program without running it.
type Facts struct {
	Platform Platform `json:"platform"`
	Size     int64    `json:"size"` // in bytes
	// Interpreter is the dynamic linker that a native program needs; empty if it is static.
	Interpreter string `json:"interpreter,omitempty"`

	// The others are of Wasm modules.

	// ABI are the versions that the module offers by the names of its exports.
	ABI     []int     `json:"abi,omitempty"`
	Imports []Extern  `json:"imports,omitempty"`
	Exports []Extern  `json:"exports,omitempty"`
	Memory  *Memory   `json:"memory,omitempty"`
	Code    int64     `json:"code,omitempty"` // bytes of code and of data
	Data    int64     `json:"data,omitempty"`
	Custom  []Section `json:"custom,omitempty"`
	// Start says that code runs as soon as the module is instantiated.
	Start bool `json:"start,omitempty"`
}

// Extern is something that a module imports or exports.
type Extern struct {
	Module string `json:"module,omitempty"` // of imports
	Name   string `json:"name"`
	Kind   string `json:"kind"`           // func, table, memory, global or tag
	Type   string `json:"type,omitempty"` // of functions, such as "(i32, i32) -> i32"
}

// Memory is a module's memory, in pages of 64 KiB.
type Memory struct {
	Min uint64  `json:"min"`
	Max *uint64 `json:"max,omitempty"`
}

// Section is a custom section.
type Section struct {
	Name string `json:"name"`
	Size int    `json:"size"`
}

// Prefixes and modules of the ABI.
const (
	abiPrefix  = "trowel_abi_"
	hostModule = "trowel_v1"
	wasiModule = "wasi_snapshot_preview1"
)

// Known says whether an import is one that the host may offer, by its module.
func (e Extern) Known() bool { return e.Module == hostModule || e.Module == wasiModule }

// Inspect reads the facts of a program. It runs nothing.
func Inspect(program []byte) (Facts, error) {
	platform, err := Identify(program)
	if err != nil {
		return Facts{}, fmt.Errorf("inspect plugin: %w", err)
	}
	f := Facts{Platform: platform, Size: int64(len(program))}
	if platform.Native() {
		e, err := readELF(program)
		f.Interpreter = e.interpreter
		return f, err
	}
	m := &outline{facts: &f}
	if err := eachSection(program, m.section); err != nil {
		return Facts{}, fmt.Errorf("inspect plugin: %w", err)
	}
	for _, e := range f.Exports {
		version, isABI := strings.CutPrefix(e.Name, abiPrefix)
		if n, err := strconv.Atoi(version); isABI && err == nil && e.Kind == externKinds[0] {
			f.ABI = append(f.ABI, n)
		}
	}
	slices.Sort(f.ABI)
	return f, nil
}

// outline is what has to be remembered from one section to the next.
type outline struct {
	facts *Facts
	types []string // of functions, as text
	// functions are the types of all functions by index, the imported ones first.
	functions []uint32
}

func (m *outline) section(s section) error {
	r := &reader{b: s.body}
	switch s.id {
	case sectionCustom:
		m.facts.Custom = append(m.facts.Custom, Section{Name: s.name, Size: len(s.body)})
		return nil
	case sectionType:
		m.readTypes(r)
		return nil // a type that is not understood is only not shown
	case sectionImport:
		for n := r.count(); n > 0 && r.err == nil; n-- {
			m.readImport(r)
		}
	case sectionFunc:
		for n := r.count(); n > 0 && r.err == nil; n-- {
			m.functions = append(m.functions, r.u32())
		}
	case sectionMemory:
		for n := r.count(); n > 0 && r.err == nil; n-- {
			m.readMemory(r)
		}
	case sectionExport:
		for n := r.count(); n > 0 && r.err == nil; n-- {
			m.readExport(r)
		}
	case sectionStart:
		m.facts.Start = true
	case sectionCode:
		m.facts.Code += int64(len(s.body))
	case sectionData:
		m.facts.Data += int64(len(s.body))
	}
	if r.err != nil {
		return fmt.Errorf("section %d at %d: %w", s.id, s.start, r.err)
	}
	return nil
}

// count reads how many elements follow. Each takes a byte at least, so that a huge count is an error at once.
func (r *reader) count() uint32 {
	n := r.u32()
	if r.err == nil && uint64(n) > uint64(len(r.b)-r.at) {
		r.fail(errShort)
		return 0
	}
	return n
}

// readTypes reads function types until the first that is something else (core specification §5.3.6).
func (m *outline) readTypes(r *reader) {
	for n := r.count(); n > 0; n-- {
		if r.byte() != 0x60 {
			return
		}
		params, ok := r.valueTypes()
		results, ok2 := r.valueTypes()
		if r.err != nil || !ok || !ok2 {
			return
		}
		text := "(" + strings.Join(params, ", ") + ")"
		if len(results) > 0 {
			text += " -> " + strings.Join(results, ", ")
		}
		m.types = append(m.types, text)
	}
}

func (r *reader) valueTypes() (names []string, ok bool) {
	known := map[byte]string{0x7f: "i32", 0x7e: "i64", 0x7d: "f32", 0x7c: "f64", 0x7b: "v128", 0x70: "funcref", 0x6f: "externref"}
	for n := r.count(); n > 0; n-- {
		name, ok := known[r.byte()]
		if !ok || r.err != nil {
			return nil, false
		}
		names = append(names, name)
	}
	return names, r.err == nil
}

var externKinds = [...]string{"func", "table", "memory", "global", "tag"}

func (m *outline) readImport(r *reader) {
	e := Extern{Module: r.text(), Name: r.text()}
	kind := r.byte()
	if int(kind) >= len(externKinds) {
		r.fail(fmt.Errorf("import %q is of the unknown kind %d", e.Name, kind))
		return
	}
	e.Kind = externKinds[kind]
	switch kind {
	case 0:
		index := r.u32()
		m.functions = append(m.functions, index)
		e.Type = m.typeOf(index)
	case 1:
		r.byte()
		r.limits()
	case 2:
		m.readMemory(r)
	case 3:
		r.byte()
		r.byte()
	case 4:
		r.byte()
		r.u32()
	}
	if r.err == nil {
		m.facts.Imports = append(m.facts.Imports, e)
	}
}

func (m *outline) readExport(r *reader) {
	e := Extern{Name: r.text()}
	kind, index := r.byte(), r.u32()
	if int(kind) >= len(externKinds) {
		r.fail(fmt.Errorf("export %q is of the unknown kind %d", e.Name, kind))
		return
	}
	e.Kind = externKinds[kind]
	if kind == 0 && int64(index) < int64(len(m.functions)) {
		e.Type = m.typeOf(m.functions[index])
	}
	if r.err == nil {
		m.facts.Exports = append(m.facts.Exports, e)
	}
}

func (m *outline) typeOf(index uint32) string {
	if int64(index) < int64(len(m.types)) {
		return m.types[index]
	}
	return ""
}

func (m *outline) readMemory(r *reader) {
	memory := r.limits()
	if m.facts.Memory == nil && r.err == nil {
		m.facts.Memory = &memory
	}
}

// limits reads the limits of a table or memory (core specification §5.3.9), those of shared and 64-bit ones too.
func (r *reader) limits() Memory {
	flags := r.byte()
	if flags > 7 {
		r.fail(fmt.Errorf("limits have the unknown flags %#x", flags))
		return Memory{}
	}
	number := func() uint64 {
		if flags&4 != 0 {
			return r.u64()
		}
		return uint64(r.u32())
	}
	limits := Memory{Min: number()}
	if flags&1 != 0 {
		most := number()
		limits.Max = &most
	}
	return limits
}
