package author_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/plugin/author"
	"github.com/trowel-build/trowel/sdk"
)

func TestWatch(t *testing.T) {
	t.Parallel()
	p := plant(t, sdk.KindInstruction, author.Go)
	w, err := author.NewWatch(p)
	if err != nil {
		t.Fatal(err)
	}
	// What is made of the sources is none of them, and a change of it must not start another round.
	for _, made := range []string{p.Artifact(author.Wasm), filepath.Join(p.Dir, ".swap")} {
		if err := os.WriteFile(made, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	source := filepath.Join(p.Dir, "main.go")
	time.AfterFunc(600*time.Millisecond, func() {
		if err := os.WriteFile(source, []byte("package main\n"), 0o644); err != nil {
			t.Error(err)
		}
	})
	changed, err := w.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if changed != source {
		t.Errorf("%q changed, want %q", changed, source)
	}
}
