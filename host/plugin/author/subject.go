package author

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/trowel-build/trowel/host/plugin/manifest"
	"github.com/trowel-build/trowel/sdk"
)

// Subject is a built plugin, and what is known of it: what is tested and called.
type Subject struct {
	Name     string
	Kind     sdk.Kind
	File     string
	Program  []byte
	Platform manifest.Platform
	Manifest manifest.Manifest
	Test     TestSettings
	// Cases is the directory of the author's own cases; it may not exist.
	Cases string
	// Attach is the socket of a plugin that the author started, in the place of Program.
	Attach string
}

// OpenSubject reads a plugin: a file, or the directory of a project that was built.
func OpenSubject(path string) (*Subject, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return openFile(path)
	}
	p, err := OpenProject(path)
	if err != nil {
		return nil, err
	}
	for _, target := range []Target{Wasm, Native} {
		s, err := openFile(p.Artifact(target))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		return s, err
	}
	return nil, fmt.Errorf("%q is not there: build it with `trowel plugin build`", p.Artifact(Wasm))
}

func openFile(file string) (*Subject, error) {
	program, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s := &Subject{File: file, Program: program, Cases: filepath.Join(filepath.Dir(file), "tests")}
	if s.Platform, err = manifest.Identify(program); err != nil {
		return nil, fmt.Errorf("%q is no plugin: %w", file, err)
	}
	s.Manifest, err = manifest.Read(program)
	if errors.Is(err, manifest.ErrNone) {
		return nil, fmt.Errorf("%q carries no manifest: build it with `trowel plugin build`", file)
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w", file, err)
	}
	s.Name, s.Kind = s.Manifest.Name, s.Manifest.Kinds[0]
	p, err := OpenProject(filepath.Dir(file))
	switch {
	case err == nil && p.Name == s.Name:
		s.Test = p.Test
	case err != nil && fileExists(filepath.Join(filepath.Dir(file), ProjectFile)):
		return nil, err
	}
	return s, nil
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
