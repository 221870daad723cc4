package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"path"
	"strings"
	"testing"
)

// octal is a number of a header's field, with its end.
func octal(n int64, width int) string { return fmt.Sprintf("%0*o\x00", width-1, n) }

// base256 is a number as GNU tar writes those that octal digits cannot say.
func base256(n int64, width int) string {
	b := bytes.Repeat([]byte{byte(n >> 63)}, width)
	for i := range 8 {
		b[width-1-i] = byte(n >> (8 * i))
	}
	b[0] |= 0x80
	return string(b)
}

// field sets a field of a header.
func field(at int, value string) func([]byte) { return func(h []byte) { copy(h[at:], value) } }

// bare is the header of a file without content.
func bare(name string, kind byte, edit func([]byte)) []byte {
	return rawHeader(name, kind, octal(0, 12), edit)
}

// global is a PAX header for all that follow.
func global(records string) []byte {
	return append(rawHeader("global", 'g', octal(int64(len(records)), 12), nil), padded([]byte(records))...)
}

// gnuLong is what GNU tar writes before a header for a long name ('L') or target ('K').
func gnuLong(kind byte, text string) []byte {
	return append(rawHeader("././@LongLink", kind, octal(int64(len(text)+1), 12), nil), padded([]byte(text+"\x00"))...)
}

// badSum spoils a header's checksum.
func badSum(h []byte) []byte {
	h = bytes.Clone(h)
	copy(h[148:], "000001\x00 ")
	return h
}

// headerTricks are layers whose headers do not mean what they seem to.
func headerTricks() map[string]hostileLayer {
	no := func(text string) map[string]string { return map[string]string{"*": text} }
	// A tar that cannot be read is copied by ADD as the file that it is.
	unreadable := func(text string) map[string]string {
		return map[string]string{"*": text, "ADD": "", "context": `header|EOF`}
	}
	withTarget := func(target string) func([]byte) { return field(157, target) }
	attributes := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(record(fmt.Sprintf("SCHILY.xattr.user.a%d", i), "value"))
		}
		return b.String()
	}
	return map[string]hostileLayer{
		"global header names a file":      {raw(global(record("path", "../../canary/file")+record("size", "3")), bare("x", '0', nil)), nil},
		"global header of links":          {raw(global(record("linkpath", "/etc/shadow")+record("uid", "-1")), bare("x", '2', withTarget("y"))), nil},
		"giant global header":             {raw(global(record("comment", strings.Repeat("x", 20<<20))), bare("x", '0', nil)), unreadable(`too long`)},
		"PAX header of nothing":           {raw(pax(record("path", "../../canary/file"))), nil},
		"two PAX headers":                 {raw(pax(record("path", "../../canary/file")), pax(record("path", "a")), bare("x", '0', nil)), nil},
		"PAX record of no length":         {raw(pax("0 path=x\n"), bare("x", '0', nil)), unreadable(`header is invalid`)},
		"PAX record longer than all":      {raw(pax("99 path=x\n"), bare("x", '0', nil)), unreadable(`header is invalid`)},
		"PAX number that is none":         {raw(pax(record("uid", "0x10")), bare("x", '0', nil)), unreadable(`header is invalid`)},
		"GNU long name up":                {raw(gnuLong('L', "../../canary/file"), bare("x", '0', nil)), map[string]string{"ADD": `leads out`}},
		"GNU long link":                   {raw(gnuLong('K', "/etc/shadow"), bare("x", '1', withTarget("y"))), no(`hardlink.*etc/shadow`)},
		"giant GNU long name":             {raw(gnuLong('L', strings.Repeat("x", 20<<20)), bare("x", '0', nil)), unreadable(`too long`)},
		"GNU multi-volume":                {raw(bare("x", 'M', nil)), no(`entries of type 'M'`)},
		"GNU volume header":               {raw(bare("x", 'V', nil)), map[string]string{"*": `entries of type 'V'`, "ADD": ""}},
		"Solaris ACL":                     {raw(bare("x", 'A', nil)), no(`entries of type 'A'`)},
		"checksum is wrong":               {raw(badSum(bare("x", '0', nil))), unreadable(`header is invalid`)},
		"checksum is wrong later":         {raw(bare("x", '0', nil), badSum(bare("y", '0', nil))), no(`header`)},
		"symlink with content":            {raw(rawHeader("x", '2', octal(512, 12), withTarget("y")), bare("../../canary/file", '0', nil)), map[string]string{"ADD": `leads out`}},
		"hardlink with content":           {raw(bare("y", '0', nil), rawHeader("x", '1', octal(512, 12), withTarget("y")), bare("inner", '0', nil)), nil},
		"directory with content":          {raw(rawHeader("x", '5', octal(512, 12), nil), bare("inner", '0', nil)), nil},
		"device with content":             {raw(rawHeader("x", '3', octal(512, 12), nil), bare("inner", '0', nil)), nil},
		"file with a slash":               {raw(rawHeader("x/", '0', octal(512, 12), nil), bare("inner", '0', nil)), nil},
		"type 0":                          {raw(bare("x", 0, nil)), nil},
		"contiguous file":                 {raw(bare("x", '7', nil)), nil},
		"no name":                         {raw(bare("", '0', nil)), no(`root directory cannot be a file`)},
		"time before all":                 {raw(bare("x", '0', field(136, base256(-1<<62, 12)))), nil},
		"time after all":                  {raw(bare("x", '0', field(136, base256(1<<62, 12)))), nil},
		"time that is none":               {raw(bare("x", '0', field(136, "yesterday  \x00"))), unreadable(`header is invalid`)},
		"negative owner":                  {raw(bare("x", '0', field(108, base256(-1, 8)))), no(`no owner -1`)},
		"owner of 2^40":                   {raw(bare("x", '0', field(108, base256(1<<40, 8)))), no(`no owner 1099511627776`)},
		"nobody's owner":                  {raw(bare("x", '0', field(116, base256(1<<32-1, 8)))), no(`no group 4294967295`)},
		"mode of many bits":               {raw(bare("x", '0', field(100, "37777777"))), nil},
		"device of 2^40":                  {raw(bare("x", '3', field(329, base256(1<<40, 8)))), no(`no device`)},
		"cut off in a file":               {raw2(rawHeader("x", '0', octal(100_000, 12), nil), []byte("some")), no(`cut off|EOF`)},
		"cut off in a header":             {raw2(bare("x", '0', nil), bare("y", '0', nil)[:200]), no(`cut off|EOF`)},
		"no end":                          {raw2(bare("x", '0', nil)), nil},
		"a second tar behind":             {raw(bare("x", '0', nil), tarEnd, bare("../../canary/file", '0', nil), bare("behind", '0', nil)), nil},
		"one block of zeros":              {raw(bare("x", '0', nil), make([]byte, 512), bare("behind", '0', nil)), no(`header`)},
		"extended attributes, a thousand": {raw(pax(attributes(1000)), bare("x", '0', nil)), map[string]string{"local": `user\.a`}},
		"extended attributes of 2 MB":     {raw(pax(attributes(80_000)), bare("x", '0', nil)), unreadable(`too long`)},
		"extended attribute without name": {raw(pax(record("SCHILY.xattr.", "x")+record("SCHILY.xattr.user.", "x")+record("SCHILY.xattr.user.a/../b", "x")), bare("x", '0', nil)), map[string]string{"local": `user\.`}},
		"ACL that is none":                {raw(pax(record("SCHILY.xattr.system.posix_acl_access", "nonsense")), bare("x", '0', nil)), nil},
		"setuid": {one(entry{tar.Header{Typeflag: tar.TypeReg, Name: "x", Mode: 0o6777}, "x"},
			entry{tar.Header{Typeflag: tar.TypeDir, Name: "y/", Mode: 0o7777, Uid: 4321}, ""}), nil},
	}
}

// raw2 is a tar without an end.
func raw2(parts ...[]byte) func(*testing.T, string) [][]byte {
	return func(*testing.T, string) [][]byte { return [][]byte{bytes.Join(parts, nil)} }
}

// nameTricks are layers with names that mean something to somebody, and links that lead nowhere.
func nameTricks() map[string]hostileLayer {
	chain := []entry{file("end", "end")}
	for i := range 60 {
		target := fmt.Sprintf("l%d", i+1)
		if i == 59 {
			target = "end"
		}
		chain = append(chain, symlink(fmt.Sprintf("l%d", i), target))
	}
	tree := func(name string, kind byte, refused map[string]string) hostileLayer {
		return hostileLayer{layers(func(c string) [][]entry {
			return [][]entry{{file(path.Join(path.Dir(name), ".wh."+path.Base(name)), "")}, {{tar.Header{Typeflag: kind, Name: name, Linkname: c, Mode: 0o755}, ""}}}
		}), refused}
	}
	return map[string]hostileLayer{
		"whiteout with files":       {one(file(".wh.a/b", "dead")), map[string]string{"*": `below a whiteout`, "ADD": `\.wh\.`}},
		"whiteout is a directory":   {one(folder(".wh.bin/")), map[string]string{"ADD": `\.wh\.`, "RUN": `"/bin/sh"`}},
		"whiteout is a link":        {layers(func(c string) [][]entry { return [][]entry{{symlink(".wh.bin", c)}} }), map[string]string{"ADD": `\.wh\.`, "RUN": `"/bin/sh"`}},
		"whiteout with content":     {one(file(".wh.var", "content")), map[string]string{"ADD": `\.wh\.`}},
		"whiteout of what is there": {one(file("x", "x"), file(".wh.x", "")), map[string]string{"ADD": `\.wh\.`}},
		"whiteout of up, below":     {one(folder("d/"), file("d/.wh...", "")), map[string]string{"*": `whiteout of no file`, "ADD": `\.wh\.`}},
		"whiteout through a link": {layers(func(c string) [][]entry {
			return [][]entry{{symlink("d", c)}, {file("d/.wh..wh..opq", ""), file("d/.wh.file", "")}}
		}), map[string]string{"ADD": `\.wh\.`, "context": ""}},
		"opaque in between":      {one(folder("d/"), file("d/a", "a"), file("d/.wh..wh..opq", ""), file("d/b", "b")), map[string]string{"ADD": `\.wh\.`}},
		"opaque file":            {layers(func(string) [][]entry { return [][]entry{{file("d", "")}, {file("d/.wh..wh..opq", "")}} }), map[string]string{"ADD": `\.wh\.`, "context": "", "COPY onto it": `"/d": not a directory`}},
		"aufs's own":             {one(folder(".wh..wh.plnk/"), file(".wh..wh.plnk/1.2", "dead"), file(".wh..wh.aufs", "")), map[string]string{"ADD": `\.wh\.`}},
		"loop of links":          {one(symlink("out", "d"), symlink("d", "out"), symlink("dev2", "dev2")), map[string]string{"COPY onto it": `too many levels`}},
		"link to its parent":     {one(folder("out/"), symlink("out/up", ".."), symlink("d", "out/up/out/up/out")), nil},
		"chain of links":         {one(chain...), nil},
		"hardlink to a symlink":  {layers(func(c string) [][]entry { return [][]entry{{symlink("s", c+"/file"), hardlink("x", "s")}} }), nil},
		"hardlink to a device":   {one(device(tar.TypeChar), hardlink("x", "device")), nil},
		"hardlink, then over it": {one(file("a", "1"), hardlink("b", "a"), file("a", "2"), hardlink("c", "b"), hardlink("a", "c")), nil},
		"hardlink to what comes": {one(hardlink("x", "y"), file("y", "y")), nil},
		"hardlink to what is gone": {layers(func(string) [][]entry {
			return [][]entry{{file("y", "y")}, {file(".wh.y", ""), hardlink("x", "y")}}
		}), map[string]string{"*": `hardlink "x"`, "ADD": `\.wh\.`, "context": ""}},
		"case":                   {one(file("A", "1"), folder("a/"), file("a/b", "2"), symlink("a/B", "b"), folder("A.d/")), nil},
		"odd names":              {one(file("-rf", ""), file(" ", ""), file("...", ""), file("~", ""), file("a\\..\\..\\b", ""), file("\xff\xfe", ""), file("$(id)", ""), file("%s%n", ""), file("nul", "")), nil},
		"many slashes":           {one(file("a//b", "1"), file("./././a/./c", "2"), folder("a/d//"), file("////e", "")), nil},
		"files of the engine":    {one(file("proc/self/exe", "dead"), file("dev/null", "dead"), file("sys/kernel", "dead"), symlink("etc/mtab", "/proc/mounts"), file(".dockerenv", "")), nil},
		"proc is a file":         tree("proc", tar.TypeReg, map[string]string{"ADD": `\.wh\.`, "RUN": `"/proc"`}),
		"dev is a FIFO":          tree("dev", tar.TypeFifo, map[string]string{"ADD": `\.wh\.`, "RUN": `"/dev"`, "COPY onto it": `"/dev": not a directory`}),
		"shell is a directory":   tree("bin/sh", tar.TypeDir, map[string]string{"ADD": `\.wh\.`, "RUN": `"/bin/sh"`}),
		"shell is a FIFO":        tree("bin/sh", tar.TypeFifo, map[string]string{"ADD": `\.wh\.`, "RUN": `"/bin/sh"`}),
		"shell is a link":        tree("bin/sh", tar.TypeSymlink, map[string]string{"ADD": `\.wh\.`, "RUN": `"/bin/sh"`}),
		"shell is a device":      tree("bin/sh", tar.TypeChar, map[string]string{"ADD": `\.wh\.`, "RUN": `"/bin/sh"`}),
		"etc is a file":          tree("etc", tar.TypeReg, map[string]string{"ADD": `\.wh\.`, "RUN": `/etc/resolv.conf`, "twice": `no such name: "app"`}),
		"passwd is a FIFO":       tree("etc/passwd", tar.TypeFifo, map[string]string{"ADD": `\.wh\.`, "twice": `passwd`}),
		"resolv.conf is a FIFO":  tree("etc/resolv.conf", tar.TypeFifo, map[string]string{"ADD": `\.wh\.`}),
		"hosts is a directory":   tree("etc/hosts", tar.TypeDir, map[string]string{"ADD": `\.wh\.`, "RUN": `/etc/hosts`}),
		"temporary files closed": {one(entry{tar.Header{Typeflag: tar.TypeDir, Name: "tmp/"}, ""}, entry{tar.Header{Typeflag: tar.TypeDir, Name: "./"}, ""}), nil},
	}
}
