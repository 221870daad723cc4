package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// pluginSite is a site with the plugin steps, and an image and a context that have links out. "@" stands for the canary's directory.
func pluginSite(t *testing.T, target string, links []entry) (s *site, base string) {
	t.Helper()
	s = newSite(t)
	program, err := compilePlugin(target, "steps")
	must(t, err)
	must(t, os.WriteFile(s.dir+"/steps", program, 0o755))
	config := "[plugins.steps]\nkind = \"instruction\"\nsource = \"file:steps\"\n"
	if target == "native" {
		config += "trust = \"native\"\n"
	}
	must(t, os.WriteFile(s.dir+"/trowel.toml", []byte(config), 0o644))
	must(t, os.Symlink(s.canary, s.context+"/out"))
	links = slices.Clone(links)
	for i := range links {
		links[i].Linkname = strings.ReplaceAll(links[i].Linkname, "@", s.canary)
	}
	return s, s.pushBase(t, "evil", pack(t, links...))
}

// TestCVE2026_15789, of those that BuildKit 0.31.2 closed: what a frontend removes is a path that leads up. Here it is a plugin, which
// may remove, make and read what is in the image and in the context, under any name that these may have.
func TestCVE2026_15789(t *testing.T) {
	t.Parallel()
	up := strings.Repeat("../", 20)
	paths := []string{"@/file", up + "@/file", "/out/file", "/out", "/up/below", "/proc/self/root@/file", "/two/file"}
	links := []entry{folder("d/"), symlink("out", "@"), symlink("up", up+"@"), symlink("d/out", "../out"), symlink("two", "d/out"), symlink("root", "/")}
	for name, c := range map[string]struct{ target, verb, rest string }{
		"remove": {"wasm", "remove", ""}, "remove, native": {"native", "remove", ""}, "write": {"wasm", "write", " dead"}, "mkdir": {"wasm", "mkdir", " 0777 7"},
		"symlink": {"wasm", "symlink", " dead"}, "copy": {"wasm", "copy Dockerfile", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, base := pluginSite(t, c.target, links)
			for _, p := range paths {
				s.steps(base, c.verb+" "+p+c.rest)
			}
			for _, p := range []string{"/", up} { // which is no file's name
				if c.verb != "copy Dockerfile" {
					s.refused(s.steps(base, c.verb+" "+p+c.rest), `root directory`)
				}
			}
		})
	}
	t.Run("read", func(t *testing.T) {
		t.Parallel()
		s, base := pluginSite(t, "wasm", links)
		var all []string
		for i, p := range []string{"@/file", up + "@/file", "out/file", "up/file", "root@/file", "/proc/self/root@/file", "../canary/file", "out/../canary/file"} {
			all = append(all, fmt.Sprintf("include context %s /c%d", p, i), fmt.Sprintf("include stage %s /s%d", p, i))
		}
		s.succeeded(s.steps(base, all...))
		for _, p := range []string{"@", up + "@", "out", ".."} {
			s.steps(base, "list context "+p+" /got")
			s.steps(base, "list stage "+p+" /got")
			s.steps(base, "copy "+p+"/file /got")
		}
	})
}

// steps builds with lines of the plugin's, writes out what is made, and makes sure that nothing outside was changed or read.
func (s *site) steps(base string, lines ...string) outcome {
	s.t.Helper()
	text := strings.ReplaceAll(strings.Join(lines, "\n"), "@", s.canary)
	s.write("Dockerfile", "FROM "+base+"\nSTEPS <<EOF\n"+text+"\nEOF\n")
	o := s.trowel("build", "--progress", "plain", "-o", "type=local,dest="+s.dir+"/home/out", s.context)
	s.t.Logf("%s: %d %s", lines, o.code, complaint(o.stderr))
	if o.code != 0 {
		s.refused(o, `Dockerfile:2`)
	}
	s.unseen(o)
	s.unread()
	return o
}
