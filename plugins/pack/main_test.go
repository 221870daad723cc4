package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/plugins"
)

// tiny is a plugin, as far as can be seen of it: a memory and two functions that trap.
const tiny = "\x00asm\x01\x00\x00\x00" +
	"\x01\x0a\x02\x60\x00\x00\x60\x02\x7f\x7f\x01\x7f" + // types: () -> (), (i32, i32) -> i32
	"\x03\x03\x02\x00\x01" + // functions of these types
	"\x05\x03\x01\x00\x01" + // a memory
	"\x07\x27\x03\x06memory\x02\x00\x0ctrowel_abi_1\x00\x00\x0btrowel_call\x00\x01" +
	"\x0a\x09\x02\x03\x00\x00\x0b\x03\x00\x00\x0b"

// TestCompileAll: what is there is left, what is of other modules is removed, and what nobody generated stays.
func TestCompileAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"README.md", "old.wazero-v1-amd64-linux.zst", "torn.zst.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	compileTiny := func() (names []string, of os.FileInfo) {
		t.Helper()
		if err := compileAll(t.Context(), dir, [][]byte{[]byte(tiny)}); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
			if filepath.Ext(e.Name()) != ".zst" {
				continue
			}
			if of, err = e.Info(); err != nil {
				t.Fatal(err)
			}
		}
		return names, of
	}
	names, first := compileTiny()
	if len(names) != 2 || first == nil || first.Size() < 100 {
		t.Fatalf("made %v", names)
	}
	again, second := compileTiny()
	if diff := cmp.Diff(names, again); diff != "" || !os.SameFile(first, second) {
		t.Errorf("made again: %s", diff)
	}
	if err := compileAll(t.Context(), dir, [][]byte{[]byte("\x00asm")}); err == nil {
		t.Error("something that is no module was compiled")
	}
}

// TestPack: a plugin becomes its compressed module and its digest.
func TestPack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "tiny.wasm")
	if err := os.WriteFile(name, []byte(tiny), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := pack(name); err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(name + plugins.DigestSuffix)
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte(tiny))); string(sum) != want || err != nil {
		t.Errorf("digest %q, %v, want %q", sum, err, want)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if diff := cmp.Diff([]string{name + plugins.DigestSuffix, name + ".zst"}, files); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}
