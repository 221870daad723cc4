//go:build e2e

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mishap is something that a user gets wrong, in files that were right.
type mishap struct {
	edits      []edit // of trowel.toml, trowel.lock and the plugin's file in the plot
	dockerfile string // another one
	args       []string
	says       []string // what the error or its hint has to have
}

// Modules made by hand: the smallest there is, which says nothing of the version of the interface that it has, and one of a
// version that is yet to come.
var (
	moduleOfNothing = "\x00asm\x01\x00\x00\x00"
	moduleOfABI2    = "\x00asm\x01\x00\x00\x00" +
		"\x01\x04\x01\x60\x00\x00" + // a type: func()
		"\x03\x02\x01\x00" + // a function of it
		"\x05\x03\x01\x00\x01" + // a memory of a page
		"\x07\x19\x02\x0ctrowel_abi_2\x00\x00\x06memory\x02\x00" + // their names
		"\x0a\x04\x01\x02\x00\x0b" // the function's code: none
)

// TestOutsideConfig gets trowel.toml, trowel.lock and the plugins' files wrong, as users and their enemies do. What trowel says
// names the file, the line where there is one, and what to do; and nothing is built.
func TestOutsideConfig(t *testing.T) {
	y := openYard(t)
	plugins := outsidePlugins{
		release: outsideModule(t, y.trowel, "instruction", "release", releaseEdits),
		vault:   outsideModule(t, y.trowel, "credential", "vault", vaultEdits, "--target", "native"),
	}
	const release = "[plugins.release]\nkind   = \"instruction\"\nsource = \"file:release.wasm\"\nallow.files = [\"context\"]\n"
	const vault = "[plugins.vault]\nkind = \"credential\"\nsource = \"file:vault\"\ntrust = \"native\"\nmatch = [\"x.example.com\"]\n" +
		"config = { registries = [\"x.example.com\"], vault = \"http://x.example.com\" }\n"
	const digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	install := []string{"plugin", "install"}
	for name, m := range map[string]mishap{
		"no such built-in": {
			edits: []edit{{"trowel.toml", "file:release.wasm", "builtin:relase"}},
			says:  []string{`plugin "release"`, `"relase"`},
		},
		"no such file": {
			edits: []edit{{"trowel.toml", "release.wasm", "relase.wasm"}},
			says:  []string{`plugin "release"`, "relase.wasm", "no such file", "build it first"},
		},
		"a directory":         {edits: []edit{{"trowel.toml", "file:release.wasm", "file:."}}, says: []string{`plugin "release"`, "no file"}},
		"no such instruction": {dockerfile: "FROM scratch\nRELEAS VERSION /x\n", says: []string{"Dockerfile:2", "RELEAS", "RELEASE"}},
		"install what is not": {args: append(install, "relase"), says: []string{"trowel.toml", `"relase"`, "did you mean release?"}},
		"unknown key":         {edits: []edit{{"trowel.toml", "allow.files", "alow.files"}}, says: []string{"trowel.toml:4", "alow", `"allow"`}},
		"unknown kind":        {edits: []edit{{"trowel.toml", `"instruction"`, `"instructions"`}}, says: []string{"trowel.toml:1", `"release"`, `"instructions"`, `"instruction"`}},
		"no TOML":             {edits: []edit{{"trowel.toml", `kind   = "instruction"`, `kind   = instruction`}}, says: []string{"trowel.toml:2"}},
		"another kind": {
			edits: []edit{{"trowel.toml", `"instruction"`, `"cache"`}, {"trowel.toml", `allow.files = ["context"]`, ""}},
			says:  []string{`plugin "release"`, "instruction", "trowel.toml", "cache", `kind = "instruction"`},
		},
		"another's kind of grant": {edits: []edit{{"trowel.toml", `"instruction"`, `"cache"`}}, says: []string{"trowel.toml:1", "allow.files", "cache"}},
		"wrong config":            {edits: []edit{{"trowel.toml", "allow", "config.greting = \"Hi\"\nallow"}}, says: []string{`plugin "release"`, "greting"}},
		"text":                    {edits: []edit{{"release.wasm", "", "#!/bin/sh\necho plugin\n"}}, says: []string{`plugin "release"`, "release.wasm", "neither"}},
		"nothing":                 {edits: []edit{{"release.wasm", "", "\n"}}, says: []string{`plugin "release"`, "release.wasm"}},
		"a module of nothing":     {edits: []edit{{"release.wasm", "", moduleOfNothing}}, says: []string{`plugin "release"`, "trowel_abi_1"}},
		"another ABI":             {edits: []edit{{"release.wasm", "", moduleOfABI2}}, says: []string{`plugin "release"`, "version 2", "version 1"}},
		"a native program": {
			edits: []edit{{"trowel.toml", "trust = \"native\"\n", ""}},
			says:  []string{`plugin "vault"`, `trust = "native"`, "[plugins.vault]"},
		},
		"frozen without a lock": {args: []string{"build", "--frozen"}, says: []string{`plugin "release"`, "trowel.lock", "`trowel plugin install release`"}},
		"frozen, and one more": {
			edits: []edit{{"", "", "install"}, {"trowel.toml", "[plugins.release]", strings.ReplaceAll(release, "plugins.release", "plugins.again") + "[plugins.release]"}},
			args:  []string{"build", "--frozen"}, says: []string{`plugin "again": it is not in trowel.lock`, "`trowel plugin install again`"},
		},
		"frozen, and granted more": {
			edits: []edit{{"", "", "install"}, {"trowel.toml", `["context"]`, `["context", "stage"]`}},
			args:  []string{"build", "--frozen"}, says: []string{`plugin "release"`, "granted", "`trowel plugin install release`"},
		},
		"another file": {
			edits: []edit{{"", "", "install"}, {"release.wasm", "\x00asm", "\x00asm"}, {"release.wasm", "greeting", "GREETING"}},
			says:  []string{`plugin "release"`, "file:release.wasm", "trowel.lock", "`trowel plugin install release`"},
		},
		"another source": {
			edits: []edit{{"", "", "install"}, {"trowel.toml", "file:release.wasm", "file:./release.wasm"}},
			says:  []string{`plugin "release"`, "trowel.lock", "file:./release.wasm", "`trowel plugin install release`"},
		},
		"a lock of nonsense": {edits: []edit{{"trowel.lock", "", "what = ["}}, says: []string{"trowel.lock:1"}},
		"a lock of the future": {
			edits: []edit{{"", "", "install"}, {"trowel.lock", "version = 1", "version = 99"}},
			says:  []string{"trowel.lock", "99"},
		},
		"from a registry, not locked": {
			edits: []edit{{"trowel.toml", "file:release.wasm", "oci://" + y.registry + "/plugins/release:1"}},
			says:  []string{`plugin "release"`, "trowel.lock", "`trowel plugin install release`"},
		},
		"from a registry without it": {
			edits: []edit{{"trowel.toml", "file:release.wasm", "oci://" + y.registry + "/plugins/release@" + digest}},
			args:  install, says: []string{`plugin "release"`, y.registry},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := y.newPlot(t, "config", release+vault)
			for from, to := range map[string]string{plugins.release: "release.wasm", plugins.vault: "vault"} {
				content, err := os.ReadFile(from)
				if err != nil {
					t.Fatal(err)
				}
				p.write(t, to, string(content))
			}
			m.test(t, p)
		})
	}
}

func (m mishap) test(t *testing.T, p *plot) {
	for _, e := range m.edits {
		switch {
		case e.file == "":
			if o := start(t, p.command(t, "plugin", e.new))(); o.err != nil {
				t.Fatalf("%v\n%s", o.err, o.output)
			}
		case e.old == "":
			p.write(t, e.file, e.new)
		default:
			text, err := os.ReadFile(filepath.Join(p.dir, e.file))
			if err != nil || !strings.Contains(string(text), e.old) {
				t.Fatalf("%s has no %q (%v):\n%.500s", e.file, e.old, err, text)
			}
			p.write(t, e.file, strings.ReplaceAll(string(text), e.old, e.new))
		}
	}
	if m.dockerfile == "" {
		m.dockerfile = "FROM scratch\nRELEASE Dockerfile /x\n"
	}
	p.write(t, "Dockerfile", m.dockerfile)
	if m.args == nil {
		m.args = []string{"build"}
	}
	if m.args[0] == "build" {
		m.args = append(m.args, "--progress=plain", "--cache-dir", filepath.Join(p.dir, "cache"), "-o", "type=oci,dest="+filepath.Join(p.dir, "image.tar"), ".")
	}
	o := start(t, p.command(t, m.args...))()
	t.Logf("%s", o.output)
	if _, failed := errors.AsType[*exec.ExitError](o.err); !failed {
		t.Errorf("it ended with %v", o.err)
	}
	for _, part := range m.says {
		if !strings.Contains(o.message(), part) {
			t.Errorf("it does not say %q", part)
		}
	}
	if _, err := os.Stat(filepath.Join(p.dir, "image.tar")); err == nil {
		t.Error("there is an image")
	}
}
