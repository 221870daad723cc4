package hostile_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"

	"github.com/trowel-build/trowel/sdk"
)

func testSymlink(t *trial) {
	t.Parallel()
	s := load(t, spec("symlink", sdk.KindInstruction))
	b := newBench(t, s)
	outside := filepath.Dir(b.context)
	write(t, outside, "outside/secret", canary)
	write(t, b.context, "inside/file", "may be read")
	for name, target := range map[string]string{
		"absolute": filepath.Join(outside, "outside/secret"), "relative": "../outside/secret", "directory": "../outside",
		"chain": "relative", "parent": "..", "inside/deep": "../../../../../../../../" + outside + "/outside/secret",
		"proc": "/proc/self/root" + outside + "/outside/secret", "good": "inside/file",
	} {
		must(t, os.Symlink(target, filepath.Join(b.context, name)))
	}
	write(t, b.context, "Dockerfile", "FROM scratch\nFOLLOW good absolute relative directory chain directory/secret inside/deep proc "+
		"../outside/secret "+filepath.Join(outside, "outside/secret")+" parent/outside/secret\n")
	_, err := b.build()
	must(t, err)
	image, err := os.ReadFile(b.image)
	must(t, err)
	if bytes.Contains(image, []byte(canary)) || !bytes.Contains(image, []byte("may be read")) {
		t.Error("the image has what is outside the context, or not what is inside")
	}
	read := 0
	for _, text := range b.texts() {
		if strings.Contains(text, "gave content") {
			read++
		}
	}
	if read != 1 {
		t.Errorf("%d files were read: %q", read, b.texts())
	}
	t.happens("links are followed inside the context alone; the others lead to nothing")
	s.works()
}

func testWASI(t *trial) {
	t.Parallel()
	s := load(t, spec("wasi", sdk.KindCredential))
	if got, want := s.answers("x"), "0 bytes of input, 0 variables, 0 arguments"; got != want {
		t.Errorf("it could %s", got)
	}
	made, err := filepath.Glob("/tmp/trowel-wasi*")
	must(t, err)
	if len(made) > 0 {
		t.Errorf("it made %q", made)
	}
	t.happens("there is no directory, no variable, no argument and no input; each attempt is an error in the module")
	s.works()
}
