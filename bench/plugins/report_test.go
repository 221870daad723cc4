package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPercentile(t *testing.T) {
	t.Parallel()
	var samples []time.Duration
	for i := 100; i > 0; i-- {
		samples = append(samples, time.Duration(i))
	}
	for percent, want := range map[int]time.Duration{0: 1, 50: 51, 99: 100, 100: 100} {
		if got := percentile(samples, percent); got != want {
			t.Errorf("of 1 to 100 the percentile %d is %d, want %d", percent, got, want)
		}
	}
	if samples[0] != 100 {
		t.Error("the samples were sorted")
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	r := &report{to: &text}
	r.table("size", "plugin", "bytes")
	r.row("C, wasm", "21")
	r.row("Rust, wasm")
	r.row("Go, wasm", "2676377")
	if err := r.flush(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("\nsize\n  plugin       bytes\n  C, wasm      21\n  Rust, wasm   \n  Go, wasm     2676377\n", text.String()); diff != "" {
		t.Errorf("the table (-want +got):\n%s", diff)
	}
}
