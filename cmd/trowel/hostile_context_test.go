package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHostileSources builds what cannot be copied.
func TestHostileSources(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dockerfile, ignore string
		flags, want        []string
	}{
		"missing":             {"FROM scratch\nCOPY absent /\n", "", nil, []string{`Dockerfile:2`, `"/?absent"`, `> 2 \| COPY absent`}},
		"nearly":              {"FROM scratch\nCOPY kepp /\n", "", nil, []string{`Dockerfile:2`, `kepp`, `did you mean "keep"`}},
		"ignored":             {"FROM scratch\nCOPY keep /\n", "keep\n", nil, []string{`Dockerfile:2`, `keep`, `\.dockerignore`}},
		"ignored ADD":         {"FROM scratch\nADD keep /\n", "keep\n", nil, []string{`Dockerfile:2`, `keep`, `\.dockerignore`}},
		"wildcard of a stage": {"FROM scratch AS a\nFROM scratch\nCOPY --from=a kee[ /\n", "", nil, []string{`Dockerfile:3`, `kee`}},
		"bad wildcard":        {"FROM scratch\nCOPY kee[ /\n", "", nil, []string{`Dockerfile:2`, `kee\[`}},
		"of a stage":          {"FROM scratch AS a\nFROM scratch\nCOPY --from=a x /\n", "", nil, []string{`Dockerfile:3`, `x`}},
		"unknown target":      {"FROM scratch AS first\n", "", []string{"--target", "frist"}, []string{`"frist"`, `hint: .*first`}},
		"later stage":         {"FROM scratch\nCOPY --from=1 x /\nFROM scratch\n", "", []string{"--target", "stage-0"}, []string{`stage-0`}},
		"itself":              {"FROM scratch AS me\nCOPY --from=me x /\n", "", nil, []string{`Dockerfile:2`, `me`}},
		"ADD to a file":       {"FROM scratch\nCOPY keep /x\nCOPY dir /x/y\n", "", nil, []string{`Dockerfile:3`, `x`}},
		"several to one":      {"FROM scratch\nCOPY keep dir/f /x\n", "", nil, []string{`Dockerfile:2`, `/x`}},
		"pattern":             {"FROM scratch\nCOPY keep /\n", "a[\n", nil, []string{`\.dockerignore`, `a\[`}},
		"pattern excluded":    {"FROM scratch\nCOPY keep /\n", "!\n", nil, []string{`\.dockerignore`}},
		"unknown user":        {"FROM scratch\nCOPY --chown=nobody-at-all keep /\n", "", nil, []string{`Dockerfile:2`, `nobody-at-all`}},
		"terminal in a name":  {"FROM scratch\nCOPY \x1b[31mred /\n", "", nil, []string{`Dockerfile:2`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.write("Dockerfile", c.dockerfile)
			s.write("keep", "kept\n")
			s.write("dir/f", "f\n")
			if c.ignore != "" {
				s.write(".dockerignore", c.ignore)
			}
			s.own()
			o := s.build(c.flags...)
			s.refused(o, c.want...)
			t.Log(complaint(o.stderr))
		})
	}
}

// TestHostileContextLinks copies links that lead out of the context. They are copied as links, and followed within.
func TestHostileContextLinks(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]string{
		"absolute": "@", "up": "../canary", "deeper": "dir/../../canary", "round": "out", "proc": "/proc/self/root@",
	} {
		for what, copied := range map[string]string{"itself": "out", "through": "out/file", "wildcard": "out/f*", "parent": "out/../../canary/file"} {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				s.write("dir/f", "f\n")
				must(t, os.Symlink(strings.ReplaceAll(target, "@", s.canary), filepath.Join(s.context, "out")))
				s.write("Dockerfile", "FROM scratch\nCOPY "+copied+" /got\n")
				s.own()
				o := s.build()
				if o.code == 0 {
					out := s.trowel("inspect", "--files", s.host()+"/app:1")
					if strings.Contains(out.stdout, "       6 ") || strings.Contains(out.stdout, "10 /got") {
						t.Errorf("a file from outside is in the image:\n%s", out.stdout)
					}
					t.Log(out.stdout)
					return
				}
				s.refused(o, `Dockerfile:2`, `out`)
				t.Log(complaint(o.stderr))
			})
		}
	}
}

// TestHostileContexts names contexts and Dockerfiles that are none.
func TestHostileContexts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(*site)
		args    []string
		want    []string // none: it succeeds
	}{
		"context is a file":         {func(s *site) { s.write("f", "") }, []string{"@/f"}, []string{`ctx/f`, `director`}},
		"context is a FIFO":         {func(s *site) { must(s.t, unix.Mkfifo(s.context+"/f", 0o644)) }, []string{"@/f"}, []string{`ctx/f`}},
		"context is a device":       {nil, []string{"/dev/zero"}, []string{`/dev/zero`}},
		"no context":                {nil, []string{"@/absent"}, []string{`ctx/absent`}},
		"empty name":                {nil, []string{""}, []string{`context`}},
		"no Dockerfile":             {nil, []string{"@"}, []string{`Dockerfile`}},
		"Dockerfile is a directory": {func(s *site) { s.write("Dockerfile/x", "") }, []string{"@"}, []string{`Dockerfile`, `director`}},
		"Dockerfile is a FIFO":      {func(s *site) { must(s.t, unix.Mkfifo(s.context+"/Dockerfile", 0o644)) }, []string{"@"}, []string{`Dockerfile`}},
		"-f is a device":            {nil, []string{"-f", "/dev/zero", "@"}, []string{`/dev/zero`}},
		"Dockerfile leads out":      {func(s *site) { must(s.t, os.Symlink(s.canary+"/file", s.context+"/Dockerfile")) }, []string{"@"}, []string{`Dockerfile`}},
		"binary":                    {func(s *site) { s.write("Dockerfile", "\x7fELF\x02\x01\x00\x00\x00\xff\xfe\n\x1b]0;x\x07\n") }, []string{"@"}, []string{`Dockerfile:1`}},
		"empty":                     {func(s *site) { s.write("Dockerfile", "") }, []string{"@"}, []string{`Dockerfile`}},
		"long line":                 {func(s *site) { s.write("Dockerfile", "FROM scratch\nLABEL x="+strings.Repeat("x", 1<<20)+"\n") }, []string{"@"}, []string{`Dockerfile:2`, `65535`}},
		"long nonsense":             {func(s *site) { s.write("Dockerfile", "FROM scratch\n"+strings.Repeat("x", 1<<20)+"\n") }, []string{"@"}, []string{`Dockerfile:2`}},
		"huge":                      {func(s *site) { s.write("Dockerfile", ""); must(s.t, os.Truncate(s.context+"/Dockerfile", 10<<30)) }, []string{"@"}, []string{`Dockerfile`}},
		"huge ignore file": {func(s *site) {
			s.write("Dockerfile", "FROM scratch\nCOPY . /\n")
			s.write(".dockerignore", "")
			must(s.t, os.Truncate(s.context+"/.dockerignore", 10<<30))
		}, []string{"@"}, []string{`\.dockerignore`}},
		"ignore file is a FIFO": {func(s *site) {
			s.write("Dockerfile", "FROM scratch\nCOPY . /\n")
			must(s.t, unix.Mkfifo(s.context+"/.dockerignore", 0o644))
		}, []string{"@"}, []string{`\.dockerignore`}},
		"FIFO in the context": {func(s *site) {
			s.write("Dockerfile", "FROM scratch\nCOPY . /\n")
			must(s.t, unix.Mkfifo(s.context+"/fifo", 0o644))
		}, []string{"@"}, nil},
		"links that are a loop": {func(s *site) {
			s.write("Dockerfile", "FROM scratch\nCOPY . /\n")
			must(s.t, os.Symlink("b", s.context+"/a"))
			must(s.t, os.Symlink("a", s.context+"/b"))
			must(s.t, os.Symlink(".", s.context+"/self"))
		}, []string{"@"}, nil},
		"copy of a loop": {func(s *site) {
			s.write("Dockerfile", "FROM scratch\nCOPY a/x /\n")
			must(s.t, os.Symlink("b", s.context+"/a"))
			must(s.t, os.Symlink("a", s.context+"/b"))
		}, []string{"@"}, []string{`Dockerfile:2`, `a/x`}},
		"bad variable": {func(s *site) { s.write("Dockerfile", "FROM scratch\nLABEL x=${y\n") }, []string{"@"}, []string{`Dockerfile:2`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			if c.prepare != nil {
				c.prepare(s)
			}
			s.own()
			args := []string{"build", "--progress", "plain"}
			for _, a := range c.args {
				args = append(args, strings.ReplaceAll(a, "@", s.context))
			}
			o := s.trowel(args...)
			t.Log(o.took, o.memory>>20, complaint(o.stderr))
			if c.want == nil {
				s.succeeded(o)
				return
			}
			s.refused(o, c.want...)
		})
	}
}
