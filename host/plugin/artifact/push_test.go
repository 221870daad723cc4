package artifact

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/plugin/manifest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares JSON with a file of testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, []byte(text), "", "  "); err != nil {
		t.Fatal(err)
	}
	pretty.WriteByte('\n')
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// TestPushWasm holds what is pushed to the CNCF's layout, by golden files, and pushes the same bytes to the same digest.
func TestPushWasm(t *testing.T) {
	t.Parallel()
	s := serve(t)
	program := with(t, bareModule(), about("1.2.0", manifest.Wants{Env: []string{"HOME"}}))
	first := push(t, s.source(":1"), program)
	if again := push(t, s.source(":again"), program); again != first {
		t.Errorf("pushed again it is %s, not %s", again, first)
	}
	body, mediaType := fetch(t, s, "manifests/1")
	if mediaType != "application/vnd.oci.image.manifest.v1+json" {
		t.Errorf("its type is %s", mediaType)
	}
	golden(t, "wasm-manifest.json", body)
	var doc document
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	config, _ := fetch(t, s, "blobs/"+doc.Config.Digest.String())
	golden(t, "wasm-config.json", config)
	if layer, _ := fetch(t, s, "blobs/"+doc.Layers[0].Digest.String()); layer != string(program) {
		t.Error("the layer is not the program")
	}
	at, err := client(t, Options{}).Push(t.Context(), s.source(":dated"), [][]byte{program}, PushOptions{Created: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)})
	if err != nil || at.String() == first {
		t.Errorf("with a time it is %s, %v", at, err)
	}
}

// TestPushNative pushes an index, in any order to the same digest.
func TestPushNative(t *testing.T) {
	t.Parallel()
	s := serve(t)
	amd64, arm64 := elf(t, "amd64", "2.0"), elf(t, "arm64", "2.0")
	if a, b := push(t, s.source(":1"), amd64, arm64), push(t, s.source(":2"), arm64, amd64); a != b {
		t.Errorf("the order matters: %s and %s", a, b)
	}
	body, mediaType := fetch(t, s, "manifests/1")
	if mediaType != "application/vnd.oci.image.index.v1+json" {
		t.Errorf("its type is %s", mediaType)
	}
	golden(t, "native-index.json", body)
	var doc document
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	one, _ := fetch(t, s, "manifests/"+doc.Manifests[0].Digest.String())
	golden(t, "native-manifest.json", one)
	for _, tt := range []struct {
		platform manifest.Platform
		want     []byte
	}{{"linux/amd64", amd64}, {"linux/arm64", arm64}} {
		p, _, err := client(t, Options{}).Pull(t.Context(), s.source(":1"), tt.platform)
		if err != nil || !bytes.Equal(p.Bytes, tt.want) || p.Platform != tt.platform {
			t.Errorf("Pull for %s = %s, %v", tt.platform, p.Platform, err)
		}
	}
	_, _, err := client(t, Options{}).Pull(t.Context(), s.source(":1"), manifest.Wasm)
	wantError(t, err, "there is no program for wasm: it has [linux/amd64 linux/arm64]")
}

// TestPushBoth has a module and a program under one name.
func TestPushBoth(t *testing.T) {
	t.Parallel()
	s := serve(t)
	module, program := wasm(t, "1"), elf(t, "amd64", "1")
	push(t, s.source(":1"), program, module)
	for platform, want := range map[manifest.Platform][]byte{manifest.Wasm: module, "linux/amd64": program} {
		if p, _, err := client(t, Options{}).Pull(t.Context(), s.source(":1"), platform); err != nil || !bytes.Equal(p.Bytes, want) {
			t.Errorf("Pull for %s: %v", platform, err)
		}
	}
}

func TestPushRefuses(t *testing.T) {
	t.Parallel()
	s := serve(t)
	other := about("1", manifest.Wants{})
	other.Name = "other"
	bomb := append(bareModule(), "\x0b\x05\xff\xff\xff\xff\x0f"...)
	for name, tt := range map[string]struct {
		to       string
		programs [][]byte
		want     string
		hint     string
	}{
		"no program":   {s.source(":1"), nil, "there is no program", ""},
		"no manifest":  {s.source(":1"), [][]byte{bareModule()}, "carries no plugin manifest", "trowel plugin build"},
		"a script":     {s.source(":1"), [][]byte{[]byte("#!/bin/sh")}, "neither a WebAssembly module", ""},
		"a bomb":       {s.source(":1"), [][]byte{bomb}, "4294967295 data segments", ""},
		"twice":        {s.source(":1"), [][]byte{wasm(t, "1"), wasm(t, "1")}, "two programs for wasm", ""},
		"two versions": {s.source(":1"), [][]byte{wasm(t, "1"), elf(t, "amd64", "2")}, "not one plugin", ""},
		"two plugins":  {s.source(":1"), [][]byte{wasm(t, "1"), with(t, elf(t, "amd64", "1"), other)}, "not one plugin", ""},
		"a digest":     {s.source("@sha256:" + "0000000000000000000000000000000000000000000000000000000000000000"), [][]byte{wasm(t, "1")}, "cannot be chosen", "/plugins/demo:1.0"},
		"no reference": {"oci://UPPER", [][]byte{wasm(t, "1")}, "parse image reference", "oci://registry.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := client(t, Options{}).Push(t.Context(), tt.to, tt.programs, PushOptions{})
			wantError(t, err, tt.want)
			if tt.hint != "" {
				wantHint(t, err, tt.hint)
			}
		})
	}
	if n := s.requests.Load(); n != 0 {
		t.Errorf("the registry got %d requests", n)
	}
}
