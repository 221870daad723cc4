package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestSocketDirOfKilledProcess(t *testing.T) {
	// Not parallel: it sets TMPDIR, which must be a short one.
	parent, err := os.MkdirTemp("/tmp", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(parent) })
	t.Setenv("TMPDIR", parent)
	used, err := openSocketDir()
	if err != nil {
		t.Fatal(err)
	}
	abandoned := filepath.Join(parent, socketPrefix+"1")
	if err := errors.Join(os.Mkdir(abandoned, 0o700), os.WriteFile(filepath.Join(abandoned, "socket"), nil, 0o600), os.WriteFile(filepath.Join(used.name, "socket"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	other, err := openSocketDir()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(abandoned); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a killed process left is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(used.name, "socket")); err != nil {
		t.Errorf("what is in use was removed: %v", err)
	}
	if err := errors.Join(used.close(), other.close()); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
