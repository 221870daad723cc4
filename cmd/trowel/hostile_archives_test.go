package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// around are archives that an image or a plugin comes in. Each has a way to make one of the members of a hostile layer, and to
// read it. Nothing of such an archive but the image or the plugin is wanted, and nothing of it is unpacked.
var around = map[string]func(s *site, members []byte) outcome{
	"docker-archive": func(s *site, members []byte) outcome {
		return s.trowel("inspect", "--files", "docker-archive://"+s.archive("docker-archive", members))
	},
	"oci-archive": func(s *site, members []byte) outcome {
		return s.trowel("copy", "oci-archive://"+s.archive("oci-archive", members), "oci-layout://"+filepath.Join(s.dir, "home/copied"))
	},
	"plugin": func(s *site, members []byte) outcome {
		s.publish(s.t, "plugin", "1", forge(members))
		return s.trowel("plugin", "pull", "oci://"+s.host()+"/plugin:1", "-o", filepath.Join(s.dir, "home/plugin.wasm"))
	},
	"compressed plugin": func(s *site, members []byte) outcome {
		f := forge(members)
		f.layers[0] = zip(f.layers[0]) // twice: only one is taken off
		s.publish(s.t, "plugin", "1", f)
		return s.trowel("plugin", "pull", "oci://"+s.host()+"/plugin:1", "-o", filepath.Join(s.dir, "home/plugin.wasm"))
	},
}

// archive writes an archive of a good image, with further members behind those of the image.
func (s *site) archive(kind string, members []byte) string {
	s.t.Helper()
	name := filepath.Join(s.dir, "home", kind+".tar")
	good := filepath.Join(s.dir, "home", kind+".good")
	if _, err := os.Stat(good); err != nil {
		s.succeeded(s.trowel("copy", s.pushBase(s.t, "good"), kind+"://"+good))
	}
	text, err := os.ReadFile(good)
	must(s.t, err)
	must(s.t, os.WriteFile(name, append(bytes.TrimSuffix(text, tarEnd), members...), 0o644))
	return name
}

// TestHostileArchives puts the members of hostile layers into the archives around images and plugins. They do no harm, and
// where an archive is refused the error names it.
func TestHostileArchives(t *testing.T) {
	t.Parallel()
	all := hostileLayers()
	maps.Copy(all, headerTricks())
	maps.Copy(all, nameTricks())
	for kind, use := range around {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			refused := 0
			for _, name := range slices.Sorted(maps.Keys(all)) {
				trick := all[name]
				o := use(s, bytes.Join(trick.layers(t, s.canary), nil))
				t.Logf("%s: %v %d MiB, exit code %d: %s", name, o.took, o.memory>>20, o.code, complaint(o.stderr))
				switch {
				case o.code != 0:
					refused++
					s.refused(o, `plugin:1|archive\.tar`)
				case strings.Contains(kind, "plugin"):
					t.Errorf("%s is taken for a plugin", name)
				case unreadable(trick):
					t.Errorf("%s: an archive with a header that cannot be read is taken", name)
				}
				if unprintable.MatchString(o.stdout + o.stderr) {
					t.Errorf("%s: what a stranger wrote reaches the terminal: %q", name, o.stdout+o.stderr)
				}
			}
			if refused == 0 {
				t.Error("nothing is refused: are the members read?")
			}
		})
	}
}

// unreadable says whether no reader of archives gets past a trick.
func unreadable(l hostileLayer) bool { return strings.HasPrefix(l.wanted("context"), "header") }

// TestHostileLayouts reads images from directories in which not everything is a file, and not every file what it is called.
func TestHostileLayouts(t *testing.T) {
	t.Parallel()
	fifo := func(name string) error { return unix.Mkfifo(name, 0o644) }
	out := func(target string) func(string) error {
		return func(name string) error { return os.Symlink(target, name) }
	}
	for name, c := range map[string]struct {
		replace string // what of the layout is made anew: index.json, manifest, config or layer
		how     func(name string) error
		want    string
	}{
		"index is a FIFO":               {"index.json", fifo, `index\.json.*not a regular file`},
		"index is a directory":          {"index.json", func(n string) error { return os.Mkdir(n, 0o755) }, `index\.json.*not a regular file`},
		"index leads out":               {"index.json", out("@/file"), `index\.json`},
		"index leads up":                {"index.json", out("../../canary/file"), `index\.json`},
		"index is huge":                 {"index.json", func(n string) error { return zeros(n, 1<<40) }, `index\.json.*larger|index\.json`},
		"index is a device":             {"index.json", func(n string) error { return unix.Mknod(n, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))) }, `index\.json`},
		"index names a path":            {"index.json", wrote(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":3,"digest":"sha256:../../../../canary/file"}]}`), `digest`},
		"index names no algorithm":      {"index.json", wrote(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":3,"digest":"../../canary:file"}]}`), `digest`},
		"index names itself, endlessly": {"index.json", wrote(`{"schemaVersion":2,"manifests":[` + strings.TrimSuffix(strings.Repeat(`{},`, 100_000), ",") + `]}`), `no image|digest|manifest`},
		"manifest is a FIFO":            {"manifest", fifo, `not a regular file`},
		"manifest leads out":            {"manifest", out("@/file"), `sha256|escape`},
		"manifest is another":           {"manifest", wrote(`{}`), `digest`},
		"config is a FIFO":              {"config", fifo, `not a regular file`},
		"config is another":             {"config", wrote(`{}`), `digest|size|bytes`},
		"layer is a FIFO":               {"layer", fifo, `not a regular file`},
		"layer leads out":               {"layer", out("@/file"), `sha256|escape`},
		"layer is another":              {"layer", wrote(`dead`), `digest|size|bytes`},
		"layer is a directory":          {"layer", func(n string) error { return os.Mkdir(n, 0o755) }, `not a regular file`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(name, "device") && os.Getuid() != 0 {
				return // only root can make it
			}
			s := newSite(t)
			base := s.pushBase(t, "1", pack(t, file("x", "x")))
			layout := filepath.Join(s.dir, "home/layout")
			s.succeeded(s.trowel("copy", base, "oci-layout://"+layout))
			victim := filepath.Join(layout, "index.json")
			if c.replace != "index.json" {
				victim = filepath.Join(layout, "blobs/sha256", blobOf(t, layout, c.replace))
			}
			must(t, os.Remove(victim))
			must(t, c.how(victim))
			if target, err := os.Readlink(victim); err == nil && strings.HasPrefix(target, "@") {
				must(t, os.Remove(victim))
				must(t, os.Symlink(s.canary+target[1:], victim))
			}
			s.write("Dockerfile", "FROM evil\nCOPY Dockerfile /d\n")
			for what, args := range map[string][]string{
				"build":   s.buildArgs("--build-context", "evil=oci-layout://"+layout),
				"copy":    {"copy", "oci-layout://" + layout, "oci-layout://" + filepath.Join(s.dir, "home/copied")},
				"inspect": {"inspect", "--files", "oci-layout://" + layout},
			} {
				o := s.trowel(args...)
				t.Logf("%s: %v %d MiB: %s", what, o.took, o.memory>>20, complaint(o.stderr))
				s.refused(o, c.want)
				if strings.Contains(o.stderr, "alive") {
					t.Errorf("%s tells what is outside:\n%s", what, o.stderr)
				}
			}
		})
	}
}

// wrote writes a text.
func wrote(text string) func(string) error {
	return func(name string) error { return os.WriteFile(name, []byte(text), 0o644) }
}

// zeros makes a file of zeros.
func zeros(name string, size int64) error {
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		return err
	}
	return os.Truncate(name, size)
}

// blobOf finds the manifest, the config or the last layer of a layout.
func blobOf(t *testing.T, layout, what string) string {
	t.Helper()
	digest := func(text []byte, after string) string {
		_, rest, ok := bytes.Cut(text, []byte(after))
		_, rest, found := bytes.Cut(rest, []byte(`"sha256:`))
		if !ok || !found {
			t.Fatalf("no digest after %q in %s", after, text)
		}
		return string(rest[:64])
	}
	index, err := os.ReadFile(filepath.Join(layout, "index.json"))
	must(t, err)
	manifest := digest(index, `"manifests"`)
	if what == "manifest" {
		return manifest
	}
	text, err := os.ReadFile(filepath.Join(layout, "blobs/sha256", manifest))
	must(t, err)
	if what == "config" {
		return digest(text, `"config"`)
	}
	return digest(text, `"layers"`)
}
