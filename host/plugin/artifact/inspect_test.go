package artifact

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/plugin/manifest"
	"github.com/trowel-build/trowel/sdk"
)

func TestInspect(t *testing.T) {
	t.Parallel()
	// A module that imports env.exec and exports nothing.
	stranger := []byte("\x00asm\x01\x00\x00\x00" + "\x01\x04\x01\x60\x00\x00" + "\x02\x0c\x01\x03env\x04exec\x00\x00")
	bomb := with(t, append(bareModule(), "\x0b\x05\xff\xff\xff\xff\x0f"...), about("1", manifest.Wants{}))
	for name, tt := range map[string]struct {
		program []byte
		want    []string
	}{
		"good":     {wasm(t, "1"), nil},
		"native":   {elf(t, "arm64", "1"), nil},
		"bare":     {bareModule(), []string{"it carries no manifest"}},
		"stranger": {with(t, stranger, about("1", manifest.Wants{})), []string{"it does not export trowel_abi_1", `it imports "exec" from "env"`}},
		"bomb":     {bomb, []string{"4294967295 data segments"}},
		"future":   {with(t, bareModule(), manifest.Manifest{ABI: 2, Name: "x", Kinds: []sdk.Kind{sdk.KindCache}}), []string{"it speaks version 2"}},
		"broken":   {append(bareModule(), "\x00\x11\x0ftrowel.manifest{"...), []string{"read plugin manifest"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, err := Inspect(tt.program)
			if err != nil {
				t.Fatal(err)
			}
			if len(i.Problems) != len(tt.want) {
				t.Fatalf("problems: %q, want %q", i.Problems, tt.want)
			}
			for n, want := range tt.want {
				if !strings.Contains(i.Problems[n], want) {
					t.Errorf("problem %q, want %q", i.Problems[n], want)
				}
			}
			text, err := json.Marshal(i)
			if err != nil {
				t.Fatal(err)
			}
			var back Inspection
			if err := json.Unmarshal(text, &back); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(i, back); diff != "" {
				t.Errorf("as JSON (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := Inspect([]byte("#!/bin/sh")); err == nil {
		t.Error("a script passes")
	}
}
