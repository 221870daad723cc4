package manifest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	elfMagic = "\x7fELF"
	// trailerMagic ends a native program that carries a manifest: JSON, its length in four bytes, least first, and this.
	trailerMagic = "TROWELMF"
	trailerTail  = 4 + len(trailerMagic)
)

// elf is what is read of an ELF file: the little that decides whether this machine can run it.
type elf struct {
	machine     uint16
	interpreter string
}

// machines are the processors of ELF files by the number they have there, as Go calls them.
func machines() map[uint16]string {
	return map[uint16]string{3: "386", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64", 21: "ppc64le", 22: "s390x", 258: "loong64"}
}

func (e elf) platform() Platform {
	if name, ok := machines()[e.machine]; ok {
		return Platform("linux/" + name)
	}
	return Platform(fmt.Sprintf("linux/elf-%d", e.machine))
}

var errELF = errors.New("the ELF program is cut short or damaged")

// readELF reads the headers. Only 64-bit little-endian ones are read beyond the first: nothing else runs Trowel.
func readELF(program []byte) (elf, error) {
	if len(program) < 52 {
		return elf{}, errELF
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch program[5] {
	case 1:
	case 2:
		order = binary.BigEndian
	default:
		return elf{}, errELF
	}
	// ET_EXEC and ET_DYN, which a position-independent program is.
	if kind := order.Uint16(program[16:]); kind != 2 && kind != 3 {
		return elf{}, errors.New("the ELF file is no program: it is an object file or a core dump")
	}
	e := elf{machine: order.Uint16(program[18:])}
	if program[4] == 1 {
		return e, nil
	}
	if program[4] != 2 || len(program) < 64 {
		return elf{}, errELF
	}
	return e, e.readInterpreter(program, order)
}

// readInterpreter finds the dynamic linker that a program asks for, in the program headers (PT_INTERP).
func (e *elf) readInterpreter(program []byte, order binary.ByteOrder) error {
	offset, size, count := order.Uint64(program[32:]), uint64(order.Uint16(program[54:])), uint64(order.Uint16(program[56:]))
	if count == 0 {
		return errELF
	}
	if size < 56 || offset > uint64(len(program)) || count*size > uint64(len(program))-offset {
		return errELF
	}
	for i := range count {
		h := program[offset+i*size:]
		if order.Uint32(h) != 3 {
			continue
		}
		from, length := order.Uint64(h[8:]), order.Uint64(h[32:])
		if from > uint64(len(program)) || length > uint64(len(program))-from || length > 4096 {
			return errELF
		}
		e.interpreter = string(bytes.TrimRight(program[from:from+length], "\x00"))
	}
	return nil
}

// splitTrailer returns the manifest at the end of a native program, and the program without it. The error is [ErrNone]
// where there is no manifest.
func splitTrailer(program []byte) (text, rest []byte, err error) {
	if len(program) < trailerTail || !bytes.HasSuffix(program, []byte(trailerMagic)) {
		return nil, program, ErrNone
	}
	end := len(program) - trailerTail
	length := binary.LittleEndian.Uint32(program[end:])
	if uint64(length) > uint64(end) || length > MaxSize {
		return nil, nil, fmt.Errorf("its manifest is said to have %d bytes", length)
	}
	start := end - int(length)
	return program[start:end], program[:start], nil
}

// withTrailer returns the program with the manifest at its end, where the kernel does not look.
func withTrailer(program, text []byte) ([]byte, error) {
	_, rest, err := splitTrailer(program)
	if err != nil && !errors.Is(err, ErrNone) {
		return nil, err
	}
	if _, err := readELF(rest); err != nil { // what was taken for a manifest was a part of the program
		return nil, err
	}
	out := append(make([]byte, 0, len(rest)+len(text)+trailerTail), rest...)
	out = append(out, text...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(text)))
	return append(out, trailerMagic...), nil
}
