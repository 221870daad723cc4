package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlugins(t *testing.T) {
	t.Parallel()
	user := write(t, "[plugins.second]\nkind = 'cache'\nsource = 'builtin:s3'\n[plugins.first]\nkind = 'cache'\nsource = 'file:mine.wasm'\n")
	project := write(t, "[plugins.third]\nkind = 'instruction'\nsource = 'builtin:jsonnet'\n[plugins.second]\nkind = 'cache'\nsource = 'builtin:other'\nlimits.memory = '1MiB'\n")
	got, err := Load(Sources{Files: []string{user, project}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"second", "first", "third"}, got.PluginOrder); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if s := got.Plugins["second"]; s.Source != "builtin:other" || s.Limits.Memory != 1<<20 || s.Dir != filepath.Dir(project) {
		t.Errorf("the project's table does not win: %+v", s)
	}
	if s := got.Plugins["first"]; s.Dir != filepath.Dir(user) {
		t.Errorf("a path is relative to %q", s.Dir)
	}
}

func TestPluginErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"[plugins.a]\nsource = 'builtin:s3'\n":                                                       `:1: plugin "a": kind is missing`,
		"[plugins.a]\nkind = 'caches'\nsource = 'builtin:s3'\n":                                      `:1: plugin "a": kind is "caches", and must be`,
		"[plugins.a]\nkind = 'cache'\nsource = 's3.wasm'\n":                                          `:1: plugin "a": source is "s3.wasm", and must be`,
		"[plugins.a]\nkind = 'cache'\nsource = 'file:x'\ntrust = 'all'\n":                            `trust is "all"`,
		"[plugins.a]\nkind = 'cache'\nsource = 'attach:/x'\n":                                        `it needs trust = "native"`,
		"[plugins.a]\nkind = 'cache'\nsource = 'file:x'\nmatch = ['x']\n":                            "match is for credential plugins",
		"[plugins.a]\nkind = 'credential'\nsource = 'file:x'\n":                                      "match is missing",
		"[plugins.a]\nkind = 'instruction'\nsource = 'file:x'\nroles = ['read']\n":                   "roles and record-key are for cache plugins",
		"[plugins.a]\nkind = 'cache'\nsource = 'file:x'\nroles = ['reed']\n":                         `role "reed"`,
		"[plugins.a]\nkind = 'cache'\nsource = 'file:x'\n[plugins.a.alow]\nhosts = ['x']\n":          `unknown key "plugins.a.alow": did you mean "allow"?`,
		"[plugins.a]\nkind = 'cache'\nsource = 'file:x'\n[plugins.a.allow]\nhost = ['x']\n":          `:5: unknown key "plugins.a.allow.host": did you mean "hosts"?`,
		"[plugins.a]\nkind = 'cache'\nsource = 'file:x'\nalow.hosts = ['x']\n":                       `:4: unknown key "plugins.a.alow.hosts": did you mean "allow"?`,
		"[plugins.a]\nkind = 'cache'\nsource = 'file:x'\nallow.secrets.s = {env = 'X', us = 'y'}\n":  `did you mean "use"?`,
		"[plugins.a]\nkind = 'cache'\nsource = 'file:x'\nallow.secrets.s = {env = 'X', use = 'y'}\n": `use`,
		"[plugins.a]\nkind = 'cache'\nsource = 'file:x'\nlimits.timeout = '-1s'\n":                   "a limit is negative",
		"[plugins.'a b']\nkind = 'cache'\nsource = 'file:x'\n":                                       "its name must be letters",
		"[plugins.a]\nkind = 'cache'\nsource = 'file:x'\nallow.hosts = ['ftp://x']\n":                "ftp",
	} {
		_, err := Load(Sources{Required: write(t, text)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n%v, want %q", text, err, want)
		}
	}
}
