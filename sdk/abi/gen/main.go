// Gen writes codec_gen.go and schema/ of package abi: a codec without reflection and JSON Schemas for the messages that the
// comments of op.go name, from the struct types of the packages sdk and abi. It is run in abi's directory by go generate.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// run writes what belongs into the directory of package abi, and removes schemas that do not.
func run(dir string) error {
	files, err := generate(dir)
	if err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, "schema", "*"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if was, err := os.ReadFile(name); err == nil && bytes.Equal(was, content) {
			continue
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate makes the files, by their names in the directory of package abi.
func generate(dir string) (map[string][]byte, error) {
	m, err := load(dir)
	if err != nil {
		return nil, err
	}
	codec, err := m.codec()
	if err != nil {
		return nil, err
	}
	files, err := m.schemas()
	if err != nil {
		return nil, err
	}
	files["codec_gen.go"] = codec
	return files, nil
}
