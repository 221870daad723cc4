package lock

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
)

func sum(s string) digest.Digest { return digest.FromString(s) }

func example() File {
	return File{Plugins: map[string]Entry{
		"team-cache": {
			Source: "oci://registry.example.com/trowel/s3:1.2", Version: "1.2.3", Digest: sum("index"), Grants: "sha256:abc",
			Layers: map[string]digest.Digest{"wasm": sum("w"), "linux/arm64": sum("b"), "linux/amd64": sum("a")},
		},
		"jsonnet":     {Source: "file:plugins/jsonnet.wasm", Digest: sum("file")},
		"it \"is\"\n": {Source: "builtin:gitlab", Version: "1", Digest: sum("builtin"), Grants: "x"},
	}}
}

const golden = `# Which plugins are used, by digest. Written by "trowel plugin install"; belongs under version control, beside trowel.toml.
version = 1

[plugins."it \"is\"\u000A"]
source = "builtin:gitlab"
version = "1"
digest = "sha256:6ac7af63dff0ba6c72e95e1c4cc4e56ddc7ec9f2cf22f2df9c4d5b2ba5f7ab0f"
grants = "x"

[plugins.jsonnet]
source = "file:plugins/jsonnet.wasm"
digest = "sha256:3b9c358f36f0a31b6ad3e14f309c7cf198ac9246e8316f9ce543d5b19ac02b80"

[plugins.team-cache]
source = "oci://registry.example.com/trowel/s3:1.2"
version = "1.2.3"
digest = "sha256:1bc04b5291c26a46d918139138b992d2de976d6851d0893b0476b85bfbdfc6e6"
grants = "sha256:abc"
[plugins.team-cache.layers]
"linux/amd64" = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
"linux/arm64" = "sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"
wasm = "sha256:50e721e49c013f00c62cf59f2163542a9d8df02464efeb615d31051b0fddc326"
`

func TestText(t *testing.T) {
	t.Parallel()
	for range 5 { // maps have no order
		text, err := example().Text()
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Replace(golden, "6ac7af63dff0ba6c72e95e1c4cc4e56ddc7ec9f2cf22f2df9c4d5b2ba5f7ab0f", sum("builtin").Encoded(), 1)
		if diff := cmp.Diff(want, string(text)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		got, err := Parse("trowel.lock", text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(example(), got); diff != "" {
			t.Fatalf("read again (-want +got):\n%s", diff)
		}
	}
	bad := example()
	bad.Plugins["x"] = Entry{Source: "oci://x"}
	if _, err := bad.Text(); err == nil {
		t.Error("an entry without a digest is written")
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	d := string(sum("x"))
	for name, tt := range map[string]struct{ text, want string }{
		"syntax":          {"version = 1\n[plugins.a]\nsource = x\n", "trowel.lock:3:10: "},
		"no version":      {"", "trowel.lock: it does not say its version"},
		"newer":           {"version = 2\nfuture = 'x'\n", "trowel.lock: its version is 2, and this trowel knows 1"},
		"newer in form":   {"version = 2\n[[plugins]]\nname = 'x'\n", "trowel.lock: its version is 2, and this trowel knows 1"},
		"version zero":    {"version = 0\n", "trowel.lock: its version is 0"},
		"unknown key":     {"version = 1\n\n[plugins.a]\nsource = 'file:a'\ndigest = '" + d + "'\nlayer = 'x'\n", `trowel.lock:6: unknown key "plugins.a.layer"`},
		"unknown table":   {"version = 1\n[pluginz.a]\n", `trowel.lock:2: unknown key "pluginz`},
		"no source":       {"version = 1\n[plugins.b]\nsource = 'file:b'\ndigest = '" + d + "'\n[plugins.a]\ndigest = '" + d + "'\n", `trowel.lock:5: plugin "a": source is ""`},
		"scheme":          {"version = 1\n[plugins.a]\n# why\nsource = 'http://a'\n", `trowel.lock:4: plugin "a": source is "http://a"`},
		"no digest":       {"version = 1\n[plugins.'a b']\nsource = 'file:a'\n", `trowel.lock:2: plugin "a b": digest is missing`},
		"digest":          {"version = 1\n[plugins.a]\nsource = 'file:a'\ndigest = 'sha256:12'\n", `trowel.lock:4: plugin "a": digest is "sha256:12", and must be`},
		"weak digest":     {"version = 1\n[plugins.a]\nsource = 'file:a'\ndigest = 'sha384:" + strings.Repeat("0", 96) + "'\n", `trowel.lock:4: `},
		"layer":           {"version = 1\n[plugins.a]\nsource = 'oci://a'\ndigest = '" + d + "'\n[plugins.a.layers]\n\"linux/amd64\" = 'x'\n", `trowel.lock:6: plugin "a": layers.linux/amd64 is "x"`},
		"no layers":       {"version = 1\n[plugins.a]\nsource = 'oci://a'\ndigest = '" + d + "'\n", `trowel.lock:2: plugin "a": layers is missing`},
		"type":            {"version = 1\n[plugins.a]\nsource = 1\n", "incompatible types"},
		"larger than all": {strings.Repeat("#", maxSize+1), "may have"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("trowel.lock", []byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Parse = %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestReadWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, FileName)
	if f, err := Read(name); err != nil || len(f.Plugins) != 0 {
		t.Errorf("Read of no file = %v, %v", f, err)
	}
	if err := os.Symlink("other.lock", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{name, filepath.Join(dir, "other.lock"), filepath.Join(dir, "link")} {
		wantChange := !strings.HasSuffix(to, "link")
		if changed, err := example().Write(to); err != nil || changed != wantChange {
			t.Errorf("Write(%s) = %v, %v", to, changed, err)
		}
		if changed, err := example().Write(to); err != nil || changed {
			t.Errorf("second Write(%s) = %v, %v", to, changed, err)
		}
		got, err := Read(to)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(example(), got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if changed, err := (File{}).Write(filepath.Join(dir, "link")); err != nil || !changed {
		t.Errorf("Write through a link = %v, %v", changed, err)
	}
	if f, err := Read(filepath.Join(dir, "other.lock")); err != nil || len(f.Plugins) != 0 {
		t.Errorf("what the link names is %v, %v", f, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 3 {
		t.Errorf("the directory has %v, %v", entries, err)
	}
	if _, err := example().Write(filepath.Join(dir, "absent", FileName)); err == nil {
		t.Error("Write into no directory passes")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	f := example()
	cache := Wanted{Name: "team-cache", Source: f.Plugins["team-cache"].Source, Grants: "sha256:abc"}
	file := Wanted{Name: "jsonnet", Source: f.Plugins["jsonnet"].Source}
	change := func(w Wanted, do func(*Wanted)) Wanted { do(&w); return w }
	for name, tt := range map[string]struct {
		wanted Wanted
		mode   Mode
		locked bool
		want   string
	}{
		"locked":             {cache, Open, true, ""},
		"frozen":             {cache, Frozen, true, ""},
		"a file":             {file, Frozen, true, ""},
		"other grants":       {change(cache, func(w *Wanted) { w.Grants = "sha256:def" }), Open, true, ""},
		"other grants, cold": {change(cache, func(w *Wanted) { w.Grants = "sha256:def" }), Frozen, false, "was changed since"},
		"other source":       {change(cache, func(w *Wanted) { w.Source += "0" }), Open, false, `trowel.lock has it from "oci://registry.example.com/trowel/s3:1.2", and trowel.toml from "oci://registry.example.com/trowel/s3:1.20"`},
		"other file":         {change(file, func(w *Wanted) { w.Source = "file:x" }), Open, false, "trowel.lock has it from"},
		"new file":           {Wanted{Name: "new", Source: "file:x"}, Open, false, ""},
		"new builtin":        {Wanted{Name: "new", Source: "builtin:x"}, Open, false, ""},
		"new file, cold":     {Wanted{Name: "new", Source: "file:x"}, Frozen, false, "is not in trowel.lock"},
		"new builtin, cold":  {Wanted{Name: "new", Source: "builtin:x"}, Frozen, false, "is not in trowel.lock"},
		"new remote":         {Wanted{Name: "new", Source: "oci://x/y"}, Open, false, "it is not in trowel.lock"},
		"no scheme":          {Wanted{Name: "jsonnet", Source: "x.wasm"}, Open, false, "must begin with"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, locked, err := f.Check(tt.wanted, tt.mode)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) || locked != tt.locked {
				t.Errorf("Check = %v, %v; want %v, %q", locked, err, tt.locked, tt.want)
			}
			if e, ok := errors.AsType[*Error](err); ok && !strings.Contains(e.Hint(), "trowel plugin install "+tt.wanted.Name) {
				t.Errorf("hint is %q", e.Hint())
			}
		})
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	f := example()
	for name, tt := range map[string]struct {
		plugin string
		got    digest.Digest
		mode   Mode
		ok     bool
	}{
		"same":               {"jsonnet", sum("file"), Frozen, true},
		"changed":            {"jsonnet", sum("else"), Open, false},
		"changed, frozen":    {"jsonnet", sum("else"), Frozen, false},
		"builtin":            {"it \"is\"\n", sum("else"), Open, true},
		"builtin, frozen":    {"it \"is\"\n", sum("else"), Frozen, false},
		"remote":             {"team-cache", sum("else"), Open, false},
		"layer is not index": {"team-cache", sum("w"), Open, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := f.Plugins[tt.plugin].Match(tt.plugin, tt.got, tt.mode)
			if (err == nil) != tt.ok {
				t.Errorf("Match = %v", err)
			}
			if err != nil && (!strings.Contains(err.Error(), tt.got.String()) || !strings.Contains(err.Error(), f.Plugins[tt.plugin].Digest.String())) {
				t.Errorf("%v does not say both digests", err)
			}
		})
	}
}

// FuzzParse wants what was read to be written and read again as the same.
func FuzzParse(f *testing.F) {
	text, err := example().Text()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("version = 1\n"))
	f.Add([]byte("version = 1\n[plugins.a]\nsource = 'file:a'\ndigest = '" + string(sum("a")) + "'\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := Parse("trowel.lock", text)
		if err != nil {
			return
		}
		again, err := got.Text()
		if err != nil {
			t.Fatal(err)
		}
		second, err := Parse("trowel.lock", again)
		if err != nil {
			t.Fatalf("%v in\n%s", err, again)
		}
		if diff := cmp.Diff(got, second, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-first +second):\n%s", diff)
		}
	})
}
