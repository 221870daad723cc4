package manifest

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrNone says that a program carries no manifest.
var ErrNone = errors.New("it carries no plugin manifest")

// Platform says what runs a program: [Wasm], or a system and processor such as "linux/amd64".
type Platform string

// Wasm is the platform of WebAssembly modules, which run wherever Trowel does.
const Wasm Platform = "wasm"

// Native says whether a program is one for the machine itself, which no sandbox holds.
func (p Platform) Native() bool { return p != Wasm }

// Identify says what runs a program, by its first bytes.
func Identify(program []byte) (Platform, error) {
	switch {
	case bytes.HasPrefix(program, []byte(wasmMagic)):
		if err := checkWasmVersion(program); err != nil {
			return "", err
		}
		return Wasm, nil
	case bytes.HasPrefix(program, []byte(elfMagic)):
		h, err := readELF(program)
		if err != nil {
			return "", err
		}
		return h.platform(), nil
	}
	return "", errors.New("it is neither a WebAssembly module nor an ELF program")
}

// Read returns the manifest that a program carries. The error is [ErrNone] where there is none.
func Read(program []byte) (Manifest, error) {
	text, err := find(program)
	if err != nil {
		return Manifest{}, fmt.Errorf("read plugin: %w", err)
	}
	m, err := decode(text)
	if err != nil {
		return Manifest{}, fmt.Errorf("read plugin manifest: %w", err)
	}
	return m, nil
}

func find(program []byte) ([]byte, error) {
	platform, err := Identify(program)
	if err != nil {
		return nil, err
	}
	if platform == Wasm {
		return wasmManifest(program)
	}
	text, _, err := splitTrailer(program)
	return text, err
}

// Append returns the program with a manifest, which takes the place of the one it may carry.
func Append(program []byte, m Manifest) ([]byte, error) {
	platform, err := Identify(program)
	if err != nil {
		return nil, fmt.Errorf("add plugin manifest: %w", err)
	}
	text, err := m.encode()
	if err != nil {
		return nil, fmt.Errorf("add plugin manifest: %w", err)
	}
	if platform == Wasm {
		program, err = withSection(program, text)
	} else {
		program, err = withTrailer(program, text)
	}
	if err != nil {
		return nil, fmt.Errorf("add plugin manifest: %w", err)
	}
	return program, nil
}
