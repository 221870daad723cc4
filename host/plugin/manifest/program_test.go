package manifest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tetratelabs/wazero"

	"github.com/trowel-build/trowel/sdk"
)

// custom is a custom section.
func custom(name, body string) []byte {
	content := append(binary.AppendUvarint(nil, uint64(len(name))), name+body...)
	return append(binary.AppendUvarint([]byte{0}, uint64(len(content))), content...)
}

// module is a small one with imports and exports of several kinds.
func module() []byte {
	b := []byte("\x00asm\x01\x00\x00\x00")
	b = append(b, custom("producers", "\x00")...)
	for _, s := range []struct {
		id   byte
		body string
	}{
		{sectionType, "\x03" + "\x60\x00\x00" + "\x60\x02\x7f\x7f\x01\x7f" + "\x60\x03\x7f\x7e\x7d\x00"},
		{sectionImport, "\x02" + "\x09trowel_v1\x05input\x00\x02" + "\x16wasi_snapshot_preview1\x09proc_exit\x00\x00"},
		{sectionFunc, "\x02\x00\x01"},
		{sectionMemory, "\x01\x01\x02\x80\x02"},
		{sectionGlobal, "\x01\x7f\x00\x41\x00\x0b"},
		{sectionExport, "\x04" + "\x06memory\x02\x00" + "\x0ctrowel_abi_1\x00\x02" + "\x0btrowel_call\x00\x03" + "\x01g\x03\x00"},
		{sectionCode, "\x02" + "\x02\x00\x0b" + "\x04\x00\x41\x07\x0b"},
		{sectionData, "\x01\x00\x41\x08\x0b\x02hi"},
	} {
		b = append(binary.AppendUvarint(append(b, s.id), uint64(len(s.body))), s.body...)
	}
	return b
}

// rich has tables, elements of both forms, names and more.
func rich() []byte {
	b := []byte("\x00asm\x01\x00\x00\x00")
	for _, s := range []struct {
		id   byte
		body string
	}{
		{sectionType, "\x01\x60\x00\x00"},
		{sectionFunc, "\x01\x00"},
		{sectionTable, "\x02\x70\x00\x04\x70\x01\x01\x02"},
		{sectionMemory, "\x01\x00\x01"},
		{sectionGlobal, "\x03\x7e\x01\x42\x80\x80\x80\x80\x10\x0b" + "\x7c\x00\x44\x00\x00\x00\x00\x00\x00\xf0\x3f\x0b" + "\x70\x00\xd2\x00\x0b"},
		{sectionStart, "\x00"},
		{sectionElement, "\x04" + "\x00\x41\x00\x0b\x01\x00" + "\x01\x00\x01\x00" + "\x02\x01\x41\x00\x0b\x00\x01\x00" + "\x05\x70\x02\xd0\x70\x0b\xd2\x00\x0b"},
		{sectionDataCount, "\x02"},
		{sectionCode, "\x01" + "\x06\x02\x02\x7f\x01\x7e\x0b"},
		{sectionData, "\x02" + "\x01\x03abc" + "\x02\x00\x41\x00\x0b\x01z"},
	} {
		b = append(binary.AppendUvarint(append(b, s.id), uint64(len(s.body))), s.body...)
	}
	return append(b, custom("name", "\x00\x02\x01m"+"\x01\x05\x01\x00\x02fn"+"\x02\x07\x01\x00\x01\x00\x02ab")...)
}

// TestWasm puts a manifest into a module, which another implementation then still takes.
func TestWasm(t *testing.T) {
	t.Parallel()
	if _, err := Read(module()); !errors.Is(err, ErrNone) {
		t.Fatalf("Read = %v, want ErrNone", err)
	}
	first, err := Append(module(), Manifest{ABI: 1, Name: "old", Kinds: []sdk.Kind{sdk.KindCache}})
	if err != nil {
		t.Fatal(err)
	}
	// One that stands before other sections is replaced too.
	moved := append(append(module()[:8:8], custom(SectionName, "{}")...), module()[8:]...)
	for name, program := range map[string][]byte{"none": module(), "last": first, "first": moved} {
		got, err := Append(program, full())
		if err != nil {
			t.Fatal(err)
		}
		m, err := Read(got)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(full(), m); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", name, diff)
		}
		if n := bytes.Count(got, []byte(SectionName)); n != 1 {
			t.Errorf("%s: it has %d manifests", name, n)
		}
		again, err := Append(got, full())
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("%s: a second Append changes the module (%v)", name, err)
		}
		runtime := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter().WithCustomSections(true))
		compiled, err := runtime.CompileModule(t.Context(), got)
		if err != nil {
			t.Fatal(err)
		}
		sections := compiled.CustomSections()
		if last := sections[len(sections)-1]; last.Name() != SectionName || !bytes.HasPrefix(last.Data(), []byte(`{"abi":1`)) {
			t.Errorf("%s: the last section is %q", name, last.Name())
		}
		if err := runtime.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestNative puts a manifest at the end of this test's own program, which then still runs.
func TestNative(t *testing.T) {
	t.Parallel()
	if os.Getenv("TROWEL_TEST_SAY") != "" {
		os.Stdout.WriteString("it runs\n")
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read(program); !errors.Is(err, ErrNone) {
		t.Fatalf("Read = %v, want ErrNone", err)
	}
	short, err := Append(program, Manifest{ABI: 1, Name: "old", Kinds: []sdk.Kind{sdk.KindCache}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Append(short, full())
	if err != nil {
		t.Fatal(err)
	}
	if direct, err := Append(program, full()); err != nil || !bytes.Equal(direct, got) {
		t.Errorf("the manifest is not replaced (%v)", err)
	}
	m, err := Read(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full(), m); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	name := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(name, got, 0o700); err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), name, "-test.run=^TestNative$")
	run.Env = []string{"TROWEL_TEST_SAY=1"}
	if out, err := run.Output(); err != nil || !strings.HasPrefix(string(out), "it runs\n") {
		t.Errorf("with a manifest it says %q, %v", out, err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	twice := append(append(module(), custom(SectionName, "{}")...), custom(SectionName, "{}")...)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 4096)
	f, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Read(head); err != nil {
		t.Fatal(err)
	}
	object := append([]byte(nil), head...)
	object[16] = 1
	for name, tt := range map[string]struct {
		program []byte
		want    string
	}{
		"nothing":            {nil, "neither a WebAssembly module nor an ELF program"},
		"script":             {[]byte("#!/bin/sh\n"), "neither"},
		"component":          {[]byte("\x00asm\x0d\x00\x01\x00"), "component"},
		"version":            {[]byte("\x00asm\x02\x00\x00\x00"), "version is 0x2"},
		"header":             {[]byte("\x00asm\x01"), "ends in its header"},
		"section too long":   {append(module(), 0, 200), "ends too soon"},
		"section number":     {append(module(), 0, 0xff, 0xff, 0xff, 0xff, 0x7f), "out of its range"},
		"endless number":     {append(module(), 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00), "out of its range"},
		"name too long":      {append(module(), 0, 2, 9, 'x'), "name of the section"},
		"name not UTF-8":     {append(module(), 0, 2, 1, 0xff), "not UTF-8"},
		"two manifests":      {twice, "two sections"},
		"manifest not JSON":  {append(module(), custom(SectionName, "hello")...), "read plugin manifest: line 1"},
		"manifest invalid":   {append(module(), custom(SectionName, `{"abi":1}`)...), "name is"},
		"object file":        {object, "no program"},
		"short ELF":          {head[:40], "cut short"},
		"ELF without its pa": {head[:100], "cut short"},
		"trailer too long":   {append(append([]byte(nil), head...), "\xff\xff\x00\x00TROWELMF"...), "is said to have"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Read(tt.program); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Read = %v, want %q in it", err, tt.want)
			}
		})
	}
}

// FuzzRead wants neither a panic nor a module that says something else after it was given a manifest, to refuse nothing
// that a WebAssembly implementation takes, and that what Vet passes can be compiled in little memory.
func FuzzRead(f *testing.F) {
	withManifest, err := Append(module(), full())
	if err != nil {
		f.Fatal(err)
	}
	elfProgram := make([]byte, 200)
	copy(elfProgram, elfMagic+"\x02\x01\x01")
	elfProgram[16], elfProgram[18], elfProgram[32], elfProgram[54], elfProgram[56] = 2, 62, 64, 56, 2
	elfProgram[64] = 3
	native, err := Append(elfProgram, full())
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{module(), withManifest, rich(), elfProgram, native, module()[:20]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		_, readErr := Read(program)
		_, factsErr := Inspect(program)
		got, err := Append(program, full())
		if err == nil {
			m, err := Read(got)
			if err != nil {
				t.Fatalf("Read after Append: %v", err)
			}
			if diff := cmp.Diff(full(), m); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
		}
		if !bytes.HasPrefix(program, []byte(wasmMagic)) || len(program) > 1<<12 {
			return
		}
		if vetErr := Vet(program); vetErr != nil {
			return // compiling it may take all memory there is
		}
		runtime := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
		defer runtime.Close(t.Context())
		if _, wazeroErr := runtime.CompileModule(t.Context(), program); wazeroErr == nil && (err != nil || factsErr != nil) {
			t.Fatalf("wazero takes what is refused here: Read %v, Append %v, Inspect %v", readErr, err, factsErr)
		}
	})
}

// FuzzParse wants a manifest that passes to be one that can be shown and travels unchanged.
func FuzzParse(f *testing.F) {
	text, err := full().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"abi":1,"name":"x","kinds":["cache"],"wants":{"files":["stage"]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil {
			return
		}
		program, err := Append(module(), m)
		if err != nil {
			if len(text) > MaxSize/6 { // escaping makes it longer
				return
			}
			t.Fatal(err)
		}
		again, err := Read(program)
		if err != nil {
			t.Fatal(err)
		}
		one, _ := m.encode()
		two, _ := again.encode()
		if !bytes.Equal(one, two) {
			t.Fatalf("%s became %s", one, two)
		}
	})
}
