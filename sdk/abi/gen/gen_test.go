package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const abiDir = ".."

func TestFresh(t *testing.T) {
	t.Parallel()
	files, err := generate(abiDir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(abiDir, name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run go generate in sdk/abi", name)
		}
	}
	there, err := filepath.Glob(filepath.Join(abiDir, "schema", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range there {
		if files["schema/"+filepath.Base(name)] == nil {
			t.Errorf("%s is made by nothing", name)
		}
	}
}

// TestSchemas: each message of the goldens, which the codec encoded, is what its schema says.
func TestSchemas(t *testing.T) {
	t.Parallel()
	m, err := load(abiDir)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.AssertContent()
	checked := 0
	for _, g := range m.groups {
		for _, op := range g.ops {
			for _, name := range []string{bareOf(op.request), bareOf(op.response)} {
				schema, err := c.Compile(filepath.Join(abiDir, "schema", g.name+".schema.json") + "#/$defs/" + name)
				if err != nil {
					t.Fatal(err)
				}
				golden, err := os.ReadFile(filepath.Join(abiDir, "testdata", "golden", name+".json"))
				if err != nil {
					t.Fatal(err)
				}
				value, err := jsonschema.UnmarshalJSON(bytes.NewReader(golden))
				if err != nil {
					t.Fatal(err)
				}
				if err := schema.Validate(value); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if object := value.(map[string]any); len(object) > 0 {
					for field := range object {
						object[field] = true // of the wrong type, but for the few booleans
					}
					if err := schema.Validate(object); err == nil {
						t.Errorf("%s: the schema takes anything", name)
					}
				}
				checked++
			}
		}
	}
	if checked < 30 {
		t.Errorf("%d messages were checked", checked)
	}
}

// TestUnknownTypes: what the codec cannot encode is an error of the generator's, not a field that goes missing.
func TestUnknownTypes(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		"type M struct { A chan int `json:\"a\"` }":                         "knows no type",
		"type M struct { A float32 `json:\"a\"` }":                          "does not know the type float32",
		"type M struct{}\ntype Op uint32\nconst OpX Op = 1 // M → N":        "there is no type abi.N",
		"type M struct{}\ntype Op uint32\nconst OpX Op = 1 // does a thing": "names no messages",
		"type M struct{}": "op.go names no messages",
	} {
		dir := filepath.Join(t.TempDir(), "abi")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"../sdk.go": "package sdk", "abi.go": "package abi\n" + src} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := generate(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", src, err, want)
		}
	}
}
