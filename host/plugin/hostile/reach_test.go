package hostile_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/trowel-build/trowel/host/plugin"
	"github.com/trowel-build/trowel/host/plugin/wasm"
	"github.com/trowel-build/trowel/sdk"
)

// testReach has a step run while the plugin that asked for it runs too. Beside the plugin, the same program finds all of it.
func testReach(t *trial) {
	t.Parallel()
	s := load(t, spec("reach", sdk.KindInstruction))
	b := newBench(t, s)
	must(t, os.Link(program("reach", ""), filepath.Join(b.context, "reach")))
	write(t, b.context, "Dockerfile", "FROM scratch\nCOPY reach /reach\nREACH "+compileDir()+" "+s.sockets+" "+b.context+"\n")
	_, err := b.build()
	must(t, err)
	if shown := b.shown.String(); !strings.Contains(shown, "reached: \n") {
		t.Errorf("in a step: %s", shown)
	}
	var attack []string
	for _, text := range b.texts() {
		if rest, ok := strings.CutPrefix(text, "REACH: attack "); ok {
			attack = append([]string{"attack"}, strings.Fields(rest)...)
		}
	}
	out, err := exec.CommandContext(t.Context(), program("reach", ""), attack...).Output()
	if _, failed := errors.AsType[*exec.ExitError](err); !failed {
		t.Errorf("beside the plugin: %s, %v", out, err)
	}
	for _, found := range []string{"see the plugin", "signal it", "connect to ", "see " + compileDir(), "see " + s.sockets} {
		if !strings.Contains(string(out), found) {
			t.Errorf("beside the plugin it does not %s: %s", found, out)
		}
	}
	t.happens("it finds neither process nor socket nor cache; beside the plugin, outside a step, the same program finds them all")
	s.works()
}

// entries are the files with machine code in a directory for compiled plugins.
func entries(t *trial, dir string) (files []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, name)
		}
		return err
	}))
	return files
}

func testCompiled(t *trial) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "compiled")
	in := func(dir string) func(o *plugin.Options) { return func(o *plugin.Options) { o.CompileDir = dir } }
	s := load(t, spec("compiled", sdk.KindCredential), in(dir))
	if _, err := s.ask(dir); err == nil {
		t.Error("the module wrote into the directory")
	}
	must(t, s.set.Close(t.Context()))
	small := polite().encode() // which is compiled in no time
	for n, damage := range []func([]byte) []byte{
		nil,
		func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		func(b []byte) []byte { return b[:len(b)/2] },
		func([]byte) []byte { return nil },
	} {
		kept := entries(t, dir)
		if n > 0 && len(kept) == 0 {
			t.Fatal("nothing is kept")
		}
		for _, f := range kept {
			text, err := os.ReadFile(f)
			must(t, err)
			must(t, os.WriteFile(f, damage(text), 0o600))
		}
		for range 2 { // the second keeps it anew
			p, err := wasm.Open(wasm.Options{Name: "hostile", Module: small, CacheDir: dir, Hello: helloOf("hostile"), Services: nobody{}})
			must(t, err)
			must(t, p.Compile(t.Context()))
			if hello, err := p.Hello(t.Context()); err != nil || !strings.Contains(string(hello), "polite") {
				t.Errorf("it answers %q, %v", hello, err)
			}
			must(t, p.Close(t.Context()))
		}
	}
	t.happens("what was damaged is dropped and compiled anew")
	foreign(t)
	must(t, s.load(spec("compiled", sdk.KindCredential)))
	s.works()
}

// foreign has directories that others can write to.
func foreign(t *trial) {
	t.Helper()
	open := filepath.Join(t.TempDir(), "open")
	must(t, errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777)))
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(t.TempDir(), link))
	for _, dir := range []string{open, link} {
		s := newSite(t)
		err := s.load(spec("compiled", sdk.KindCredential), func(o *plugin.Options) { o.CompileDir = dir })
		t.refused(err, sdk.CodeDenied, dir)
		if dir == open {
			t.happens("`%s`: %v", sdk.CodeDenied, err)
		}
	}
}
