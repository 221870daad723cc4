package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), FileName)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	user := write(t, "[build]\ncompression = 'zstd'\nwork-dir = '/user'\n[registry.'a.example.com']\ntls = 'skip'\n[registry.'b.example.com']\nmirrors = ['user.example.com']\n")
	project := write(t, "[build]\nwork-dir = '/project'\ncache-size = '2GB'\n[registry.'b.example.com']\nmirrors = ['m.example.com/hub']\n")
	env := map[string]string{"TROWEL_WORK_DIR": "/environment"}
	got, err := Load(Sources{Files: []string{"/nonexistent/trowel.toml", user, project}, Getenv: func(k string) string { return env[k] }})
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Build: Build{Compression: "zstd", Isolation: "auto", WorkDir: "/environment", CacheSize: 2e9},
		Registry: map[string]Registry{
			"a.example.com": {TLS: "skip"},
			"b.example.com": {Mirrors: []string{"m.example.com/hub"}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ text, want string }{
		"unknown key":     {"[build]\n\ncompresion = 'gzip'\n", `:3: unknown key "build.compresion": did you mean "compression"?`},
		"unknown table":   {"[builds]\nx = 1\n", `:1: unknown key "builds": did you mean "build"?`},
		"unknown in host": {"[registry.\"r.example.com:5000\"]\nmirror = ['x']\n", `:2: unknown key "registry.\"r.example.com:5000\".mirror": did you mean "mirrors"?`},
		"nothing is near": {"quux = 1\n", `:1: unknown key "quux"`},
		"syntax":          {"[build]\ncompression = gzip\n", `:2:15: expected value but found "gzip" instead`},
		"bad registry":    {"[registry.'r.example.com']\ntls = 'maybe'\n", `:1: registry "r.example.com": tls is "maybe", and must be "verify", "skip", "insecure" or "off"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := write(t, tt.text)
			_, err := Load(Sources{Required: file})
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(file+tt.want, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	if _, err := Load(Sources{Getenv: func(k string) string {
		return map[string]string{"TROWEL_COMPRESSION": "lzma"}[k]
	}}); err == nil || err.Error() != `build.compression is "lzma", and must be one of gzip, zstd, none` {
		t.Errorf("error is %v", err)
	}
	if _, err := Load(Sources{Required: "/nonexistent/trowel.toml"}); err == nil {
		t.Error("a file that was named and does not exist passes")
	}
}
