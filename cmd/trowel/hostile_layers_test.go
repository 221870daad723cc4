package main

import (
	"archive/tar"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rawHeader is a header of a tar whose fields say what they like.
func rawHeader(name string, kind byte, size string, edit func([]byte)) []byte {
	h := make([]byte, 512)
	copy(h[0:100], name)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x00")
	copy(h[116:], "0000000\x00")
	copy(h[124:136], size)
	copy(h[136:], "00000000000\x00")
	copy(h[148:], "        ")
	h[156] = kind
	copy(h[257:], "ustar\x0000")
	if edit != nil {
		edit(h)
	}
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// padded is bytes with zeros up to a whole number of blocks.
func padded(b []byte) []byte { return append(b, make([]byte, (512-len(b)%512)%512)...) }

// pax is a PAX header with these bytes.
func pax(records string) []byte {
	return append(rawHeader("pax", 'x', fmt.Sprintf("%011o\x00", len(records)), nil), padded([]byte(records))...)
}

// record is a line of a PAX header.
func record(key, value string) string {
	n := len(key) + len(value) + 3
	for n != len(fmt.Sprintf("%d %s=%s\n", n, key, value)) {
		n = len(fmt.Sprintf("%d %s=%s\n", n, key, value))
	}
	return fmt.Sprintf("%d %s=%s\n", n, key, value)
}

var tarEnd = make([]byte, 1024)

func device(kind byte) entry {
	return entry{tar.Header{Typeflag: kind, Name: "device", Mode: 0o666, Devmajor: 1, Devminor: 5}, ""}
}

// hostileLayer is a layer that wants to break out, or in.
type hostileLayer struct {
	layers func(t *testing.T, canary string) [][]byte
	// refused is what is told of it, by way of use; "" means that it does no harm. "*" is for all other ways.
	refused map[string]string
}

// endsLike names ways that end as others do, unless something else is said of them.
var endsLike = map[string]string{"RUN as user": "RUN", "ADD and RUN": "ADD", "context": "ADD", "layout": "twice"}

// wanted is what is told of it, used in a way.
func (l *hostileLayer) wanted(way string) string {
	for _, w := range []string{way, endsLike[way]} {
		if text, ok := l.refused[w]; ok {
			return text
		}
	}
	return l.refused["*"]
}

// layers is a hostile layer made of entries.
func layers(make func(canary string) [][]entry) func(*testing.T, string) [][]byte {
	return func(t *testing.T, canary string) [][]byte {
		var all [][]byte
		for _, e := range make(canary) {
			all = append(all, pack(t, e...))
		}
		return all
	}
}

func one(entries ...entry) func(*testing.T, string) [][]byte {
	return layers(func(string) [][]entry { return [][]entry{entries} })
}

func raw(parts ...[]byte) func(*testing.T, string) [][]byte {
	return func(*testing.T, string) [][]byte {
		var all []byte
		for _, p := range parts {
			all = append(all, p...)
		}
		return [][]byte{append(all, tarEnd...)}
	}
}

func hostileLayers() map[string]hostileLayer {
	no := func(text string) map[string]string { return map[string]string{"*": text} }
	// A tar that cannot be read is copied by ADD as the file that it is.
	unreadable := func(text string) map[string]string {
		return map[string]string{"*": text, "ADD": "", "context": `header|EOF`}
	}
	// A whiteout means nothing in an archive. Only the first layer is part of a context.
	whiteout := map[string]string{"ADD": `\.wh\.`, "context": ""}
	return map[string]hostileLayer{
		"up":        {one(file("../../canary/file", "dead")), map[string]string{"ADD": `\.\./\.\./canary/file.* leads out`}},
		"up inside": {one(folder("a/"), file("a/../../x", "dead")), map[string]string{"ADD": `a/\.\./\.\./x.* leads out`}},
		"absolute":  {layers(func(c string) [][]entry { return [][]entry{{file(c+"/file", "dead")}} }), nil},
		"through a symlink": {layers(func(c string) [][]entry {
			return [][]entry{{symlink("out", c), file("out/file", "dead")}}
		}), nil},
		"through a symlink below": {layers(func(c string) [][]entry {
			return [][]entry{{symlink("out", c)}, {file("out/file", "dead"), file("out/below/file", "dead")}}
		}), nil},
		"through a relative symlink": {one(symlink("out", "../../../../../../../../../../../../tmp"), file("out/hostile-dead", "dead")), nil},
		"over a symlink":             {layers(func(c string) [][]entry { return [][]entry{{symlink("f", c+"/file")}, {file("f", "dead")}} }), nil},
		"hardlink to the host":       {one(hardlink("shadow", "/etc/shadow")), no(`shadow`)},
		"hardlink up":                {layers(func(c string) [][]entry { return [][]entry{{hardlink("x", "../../../../../../../.."+c+"/file")}} }), no(`x`)},
		"hardlink through a symlink": {layers(func(c string) [][]entry {
			return [][]entry{{symlink("out", c), hardlink("x", "out/file")}}
		}), no(`x`)},
		"hardlink to itself":      {one(hardlink("x", "x")), no(`x`)},
		"hardlink to a directory": {one(folder("d/"), hardlink("x", "d")), no(`x`)},
		"char device":             {one(device(tar.TypeChar)), nil},
		"block device":            {one(device(tar.TypeBlock)), nil},
		"FIFO":                    {one(device(tar.TypeFifo)), nil},
		"unknown type":            {raw(rawHeader("x", 'Z', "00000000000\x00", nil)), no(`'Z'`)},
		"whiteout of up":          {one(file(".wh...", "")), no(`\.wh\.`)},
		"whiteout of here":        {one(file(".wh..", "")), no(`\.wh\.`)},
		"whiteout of nothing":     {one(file("d/.wh.", "")), no(`\.wh\.`)},
		"whiteout of a link's file": {layers(func(c string) [][]entry {
			return [][]entry{{symlink("out", c)}, {file("out/.wh.file", ""), file("out/.wh.below", "")}}
		}), whiteout},
		"opaque link":        {layers(func(c string) [][]entry { return [][]entry{{symlink("out", c)}, {file("out/.wh..wh..opq", "")}} }), whiteout},
		"opaque root":        {one(file(".wh..wh..opq", ""), file("left", "alone"), folder("bin/")), map[string]string{"ADD": `\.wh\.`, "twice": `no such name: "app"`, "RUN": `Dockerfile:2.*"/bin/sh"`}},
		"duplicates":         {one(file("x", "first"), folder("x/"), file("x", "second"), symlink("x", "/"), file("x", "third")), nil},
		"directory and file": {one(folder("d/"), file("d/f", "f"), file("d", "file"), file("d/g", "g")), no(`d/g.*not a directory`)},
		"file as parent":     {one(file("x", "f"), file("x/y", "f")), no(`x/y.*not a directory`)},
		"directory becomes a symlink": {layers(func(c string) [][]entry {
			return [][]entry{{folder("d/"), file("d/file", "dead")}, {symlink("d", c)}, {file("d/file", "dead twice")}}
		}), nil},
		"root is a file":     {raw(rawHeader(".", '0', "00000000000\x00", nil)), no(`root`)},
		"root is a symlink":  {layers(func(c string) [][]entry { return [][]entry{{symlink("./", c)}} }), no(`root directory cannot be a symlink`)},
		"root is removed":    {one(file("./.wh..", "")), no(`\.wh\.`)},
		"negative size":      {raw(rawHeader("x", '0', "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", nil)), unreadable(`header`)},
		"negative PAX size":  {raw(pax(record("size", "-1")), rawHeader("x", '0', "00000000000\x00", nil)), unreadable(`header`)},
		"huge size":          {raw(rawHeader("x", '0', "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff", nil)), no(`cut off|EOF|tar|size`)},
		"NUL in a name":      {raw(pax(record("path", "a\x00b")), rawHeader("x", '0', "00000000000\x00", nil)), unreadable(`header`)},
		"NUL in a link":      {raw(pax(record("linkpath", "a\x00b")), rawHeader("x", '2', "00000000000\x00", nil)), unreadable(`header`)},
		"long path":          {one(file(strings.Repeat("d/", 2500)+"f", "f")), no(`path|long`)},
		"long name":          {one(file(strings.Repeat("n", 5000), "f")), no(`name|long|path`)},
		"name of 256 bytes":  {one(file(strings.Repeat("n", 256), "f")), map[string]string{"RUN": `nnn`, "COPY and RUN": `nnn`, "ADD and RUN": `nnn`, "local": `nnn`}},
		"long link":          {one(symlink("l", strings.Repeat("l/", 2500))), no(`l`)},
		"giant PAX header":   {raw(pax(record("comment", strings.Repeat("x", 20<<20))), rawHeader("x", '0', "00000000000\x00", nil)), unreadable(`too long`)},
		"PAX header of 1 EB": {raw(rawHeader("pax", 'x', "\x80\x00\x00\x00\x0f\xff\xff\xff\xff\xff\xff\xff", nil)), unreadable(`cut off`)},
		"sparse bomb": {raw(pax(record("GNU.sparse.major", "1")+record("GNU.sparse.minor", "0")+record("GNU.sparse.name", "bomb")+record("GNU.sparse.realsize", "1099511627776")),
			rawHeader("x", '0', fmt.Sprintf("%011o\x00", 512), nil), padded([]byte("1\n1099511627776\n0\n"))), no(`sparse|header|too much`)},
		"old sparse bomb": {raw(rawHeader("bomb", 'S', "00000000000\x00", func(h []byte) {
			copy(h[257:], "ustar  \x00")
			copy(h[386:], "00000000000\x0000000000000\x00")
			copy(h[483:], "\x80\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00")
		})), no(`sparse|header|too much`)},
		"line break in a name": {one(file("a\nfile 0777 0:0 0 /forged", "f"), file("\x1b[31mred", "f"), symlink("link", "\x1b]0;x\x07\n")), nil},
		"terminal in an error": {one(file("../\x1b[31mred\n\x1b]0;x\x07", "f")), map[string]string{"ADD": `red.*leads out`}},
		"hidden xattr":         {raw(pax(record("SCHILY.xattr.trusted.overlay.opaque", "y")+record("SCHILY.xattr.trusted.overlay.redirect", "/../../canary")), rawHeader("d", '5', "00000000000\x00", nil)), nil},
		"bad capability":       {raw(pax(record("SCHILY.xattr.security.capability", "nonsense")), rawHeader("d", '0', "00000000000\x00", nil)), map[string]string{"RUN": `security\.capability`, "COPY and RUN": `security\.capability`, "ADD and RUN": `security\.capability`, "local": `security\.capability`, "COPY onto it": `"/d": not a directory`}},
		"links to the host": {layers(func(c string) [][]entry {
			return [][]entry{{file(".wh.dev", ""), file(".wh.proc", ""), file(".wh.sys", "")}, {symlink("dev", c), symlink("proc", c), symlink("sys", c)}}
		}), map[string]string{"ADD": `\.wh\.dev`, "RUN": `Dockerfile:2.*"/dev`}},
		"etc is a link": {layers(func(c string) [][]entry {
			return [][]entry{{file(".wh.etc", "")}, {symlink("etc", c+"/below")}}
		}), map[string]string{"ADD": `\.wh\.`, "twice": `no such name: "app"`}},
		"resolv.conf is a link": {layers(func(c string) [][]entry {
			return [][]entry{{symlink("etc/resolv.conf", c+"/file"), symlink("etc/hosts", "../../../../../../../../../../"+c+"/file")}}
		}), nil},
		"passwd is a link": {layers(func(c string) [][]entry {
			return [][]entry{{symlink("etc/passwd", "/proc/self/root"+c+"/file"), symlink("etc/group", c+"/file")}}
		}), map[string]string{"twice": `no such name: "app"`}},
	}
}

// ways are how a layer is used.
var ways = map[string]func(s *site, base string) outcome{
	"RUN": func(s *site, base string) outcome {
		s.write("Dockerfile", "FROM "+base+"\nRUN [\"/bin/sh\", \"-c\", \"echo made > /made-by-run\"]\n")
		return s.build()
	},
	"RUN as user": func(s *site, base string) outcome {
		s.write("Dockerfile", "FROM "+base+"\nRUN [\"/bin/sh\", \"-c\", \"echo made > /made-by-run\"]\n")
		return s.build()
	},
	"COPY onto it": func(s *site, base string) outcome {
		s.write("Dockerfile", "FROM "+base+"\nCOPY Dockerfile out/file\nCOPY Dockerfile d/file\nCOPY Dockerfile dev/file\n")
		return s.build()
	},
	"COPY from it": func(s *site, base string) outcome {
		s.write("Dockerfile", "FROM scratch\nCOPY --from="+base+" / /\n")
		return s.build()
	},
	"ADD": func(s *site, _ string) outcome {
		s.write("Dockerfile", "FROM scratch\nADD layer*.tar /\n")
		return s.build()
	},
	"local": func(s *site, base string) outcome {
		s.write("Dockerfile", "FROM "+base+"\n")
		return s.trowel("build", "--progress", "plain", "-o", "type=local,dest="+filepath.Join(s.dir, "home/out"), s.context)
	},
	"tar": func(s *site, base string) outcome {
		s.write("Dockerfile", "FROM "+base+"\n")
		return s.trowel("build", "--progress", "plain", "-o", "type=tar,dest="+filepath.Join(s.dir, "home/out.tar"), s.context)
	},
	"COPY and RUN": func(s *site, base string) outcome {
		s.write("Dockerfile", "FROM "+s.pushBase(s.t, "clean")+"\nCOPY --from="+base+" / /copied\nRUN [\"/bin/sh\", \"-c\", \"echo made > /made-by-run\"]\n")
		return s.build()
	},
	"ADD and RUN": func(s *site, _ string) outcome {
		s.write("Dockerfile", "FROM "+s.pushBase(s.t, "clean")+"\nADD layer*.tar /added/\nRUN [\"/bin/sh\", \"-c\", \"echo made > /made-by-run\"]\n")
		return s.build()
	},
	"twice": func(s *site, base string) outcome { // the second time, the cache has its index and its blob
		s.write("Dockerfile", "FROM "+base+"\nCOPY --chown=app Dockerfile /f\n")
		s.build()
		s.write("Dockerfile", "FROM "+base+"\nCOPY --chown=app:wheel Dockerfile /f\n")
		return s.build()
	},
	"layout": func(s *site, base string) outcome {
		s.succeeded(s.trowel("copy", base, "oci-layout://"+s.dir+"/home/layout"))
		s.write("Dockerfile", "FROM evil\nCOPY --chown=app Dockerfile /f\n")
		return s.build("--build-context", "evil=oci-layout://"+s.dir+"/home/layout")
	},
	"archive": func(s *site, base string) outcome {
		s.succeeded(s.trowel("copy", base, "docker-archive://"+s.dir+"/home/evil.tar"))
		return s.trowel("inspect", "--files", "docker-archive://"+s.dir+"/home/evil.tar")
	},
	"context": func(s *site, _ string) outcome {
		layer, err := os.ReadFile(filepath.Join(s.context, "layer0.tar"))
		must(s.t, err)
		return s.trowel("build", "--progress", "plain", s.tarContext(copiesAll, layer))
	},
	"inspect": func(s *site, base string) outcome { return s.trowel("inspect", "--files", base) },
}

// readers are the ways that differ in who reads a layer's headers; what the others do with the entries is the same whatever header
// they came from.
var readers = []string{"RUN", "COPY from it", "ADD", "context", "local", "twice", "inspect"}

// TestHostileLayers uses layers that want to break out, in all ways in which layers are used.
func TestHostileLayers(t *testing.T) {
	t.Parallel()
	all := hostileLayers()
	inHeaders := headerTricks()
	maps.Copy(inHeaders, nameTricks())
	maps.Copy(all, inHeaders)
	for name, l := range all {
		for way, use := range ways {
			if _, ok := inHeaders[name]; ok && !slices.Contains(readers, way) {
				continue
			}
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				var options []siteOption
				if way == "RUN as user" {
					options = append(options, asUser)
				}
				if strings.Contains(way, "RUN") {
					needRun(t)
				}
				s := newSite(t, options...)
				content := l.layers(t, s.canary)
				for i, c := range content {
					s.write(fmt.Sprintf("layer%d.tar", i), string(c))
				}
				base := s.pushBase(t, "evil", content...)
				s.own()
				o := use(s, base)
				want := l.wanted(way)
				t.Logf("%v %d MiB, exit code %d: %s", o.took, o.memory>>20, o.code, complaint(o.stderr))
				if want != "" {
					s.refused(o, want)
				} else {
					s.succeeded(o)
				}
				if unprintable.MatchString(o.stdout+o.stderr) || regexp.MustCompile(`(?m)^file 0777 0:0 0 /forged`).MatchString(o.stdout) {
					t.Errorf("what a stranger wrote reaches the terminal: %q", o.stdout+o.stderr)
				}
				if _, err := os.Lstat("/tmp/hostile-dead"); err == nil {
					t.Error("a file was written outside")
				}
			})
		}
	}
}
