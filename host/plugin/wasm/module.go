package wasm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

const (
	// MaxModule is the most bytes that a module may have.
	MaxModule = 32 << 20

	hostModule = "trowel_v1"
	wasiModule = "wasi_snapshot_preview1"
	abiPrefix  = "trowel_abi_"
	callExport = "trowel_call"
	initExport = "_initialize"

	pageSize = 64 << 10
)

// Info is what a module says of itself, without any of it having run.
type Info struct {
	ABIs    []int    // the major versions it speaks
	Imports []string // "module.name", followed by what it is if that is not a function
	Exports []string
	// Memory is what an instance has at least, in bytes.
	Memory int64
	// Custom are the custom sections, by name. They are parts of the module's bytes.
	Custom map[string][]byte

	functions map[string]bool // exports that are functions
	memory    bool            // exports "memory"
}

// Inspect reads a module. It says what is there; [Open] says whether it can run.
func Inspect(module []byte) (Info, error) {
	if len(module) > MaxModule {
		return Info{}, &sdk.Error{Code: sdk.CodeLimit, Message: fmt.Sprintf("the module has %d bytes: at most %d MiB are allowed", len(module), MaxModule>>20)}
	}
	if len(module) < 8 || string(module[:4]) != "\x00asm" {
		return Info{}, invalid(`it is no WebAssembly module: it does not begin with "\0asm"`)
	}
	if v := binary.LittleEndian.Uint32(module[4:]); v != 1 {
		if v == 0x1000d {
			return Info{}, &sdk.Error{Code: sdk.CodeUnsupported, Message: "it is a component: build it as a core module"}
		}
		return Info{}, &sdk.Error{Code: sdk.CodeUnsupported, Message: fmt.Sprintf("it is WebAssembly of version %d: only core modules of version 1 are supported", v)}
	}
	info := Info{Custom: map[string][]byte{}, functions: map[string]bool{}}
	if err := info.sections(&decoder{rest: module[8:]}); err != nil {
		return Info{}, invalid("the module is damaged: " + err.Error())
	}
	return info, nil
}

func invalid(message string) error { return &sdk.Error{Code: sdk.CodeInvalid, Message: message} }

// The sections that matter here, by their numbers in the format.
const (
	sectionCustom = 0
	sectionImport = 2
	sectionMemory = 5
	sectionExport = 7
)

func (i *Info) sections(d *decoder) error {
	for len(d.rest) > 0 {
		id, size := d.byte(), d.number()
		section := &decoder{rest: d.bytes(size)}
		if d.err != nil {
			return d.err
		}
		switch id {
		case sectionCustom:
			name := section.name()
			i.Custom[name] = section.rest
		case sectionImport:
			i.readImports(section)
		case sectionMemory:
			if n := section.number(); n > 0 {
				i.Memory = section.limits() * pageSize
			}
		case sectionExport:
			i.readExports(section)
		}
		if section.err != nil {
			return fmt.Errorf("section %d: %w", id, section.err)
		}
	}
	return nil
}

func (i *Info) readImports(d *decoder) {
	for n := d.number(); n > 0 && d.err == nil; n-- {
		name := d.name() + "." + d.name()
		switch kind := d.byte(); kind {
		case 0: // function
			d.number()
		case 1:
			d.byte()
			d.limits()
			name += " (a table)"
		case 2:
			d.limits()
			name += " (a memory)"
		case 3:
			d.bytes(2)
			name += " (a global)"
		default:
			d.fail(fmt.Sprintf("import of the unknown kind %d", kind))
		}
		i.Imports = append(i.Imports, name)
	}
}

func (i *Info) readExports(d *decoder) {
	for n := d.number(); n > 0 && d.err == nil; n-- {
		name, kind := d.name(), d.byte()
		d.number()
		i.Exports = append(i.Exports, name)
		i.functions[name] = i.functions[name] || kind == 0
		i.memory = i.memory || name == "memory" && kind == 2
		number, isABI := strings.CutPrefix(name, abiPrefix)
		if major, err := strconv.Atoi(number); isABI && err == nil && kind == 0 {
			i.ABIs = append(i.ABIs, major)
		}
	}
}

// check says why a module cannot run, if so.
func (i Info) check(memory int64) error {
	for _, name := range i.Imports {
		if !allowedImport(name) {
			return invalid(fmt.Sprintf("it imports %q, which plugins do not have: a plugin imports functions of %s, and those of %s that have to do with its own process", name, hostModule, wasiModule))
		}
	}
	switch {
	case len(i.ABIs) == 0:
		return invalid(fmt.Sprintf("it is no plugin: it exports no function %s%d", abiPrefix, abi.Version))
	case !slices.Contains(i.ABIs, abi.Version):
		return &sdk.Error{Code: sdk.CodeUnsupported, Message: fmt.Sprintf("it speaks version %d of the plugin interface and this trowel speaks version %d: use a matching version of one or the other", slices.Max(i.ABIs), abi.Version)}
	case !i.functions[callExport]:
		return invalid("it exports no function " + callExport)
	case !i.memory:
		return invalid(`it exports no memory under the name "memory"`)
	case i.functions["_start"] && !i.functions[initExport]:
		return invalid("it is a program, not a library: build it with -buildmode=c-shared (Go) or as a reactor")
	case i.Memory > memory:
		return &sdk.Error{Code: sdk.CodeLimit, Message: fmt.Sprintf("it needs %s of memory to start and limits.memory is %s", size(i.Memory), size(memory))}
	}
	return nil
}

// allowedImport allows our own functions and those of WASI preview 1: what the runtimes of Go, Rust, C and AssemblyScript are
// linked with. Those of the file system find no directory, and those of sockets no socket.
func allowedImport(name string) bool {
	module, function, _ := strings.Cut(name, ".")
	switch module {
	case hostModule:
		return slices.ContainsFunc(imports, func(i hostImport) bool { return i.name == function })
	case wasiModule:
		return slices.Contains(wasiFunctions, function)
	}
	return false
}

// decoder reads the binary format. After an error, everything is zero.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(message string) {
	if d.err == nil {
		d.err = errors.New(message)
	}
	d.rest = nil
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.fail("it ends early")
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte {
	b := d.bytes(1)
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

// number reads an unsigned LEB128 of at most 32 bits, as sizes and indices are.
func (d *decoder) number() uint64 {
	v, n := binary.Uvarint(d.rest[:min(len(d.rest), 5)])
	if n <= 0 || v > 1<<32-1 {
		d.fail("a number is damaged")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) name() string { return string(d.bytes(d.number())) }

// limits reads the limits of a table or memory and returns the lower one.
func (d *decoder) limits() int64 {
	flags, low := d.byte(), d.number()
	if flags&1 != 0 {
		d.number()
	}
	return int64(low)
}

func size(bytes int64) string {
	if bytes >= 1<<20 && bytes%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}
