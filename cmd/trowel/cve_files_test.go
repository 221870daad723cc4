package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"
)

// Regression tests for vulnerabilities of other builders, named after them: archives, contexts and outputs.

// escapes are archives that write outside of where they are unpacked, if they are let.
func escapes(t *testing.T, canary string) map[string][]byte {
	up := strings.Repeat("../", 20)
	through := func(last entry) []byte {
		return pack(t, folder("d/"), symlink("d/out", canary), symlink("up", up+canary), last)
	}
	attributed := file("d/out/file", "dead")
	attributed.PAXRecords = map[string]string{"SCHILY.xattr.user.x": "dead"}
	return map[string][]byte{
		"up":               pack(t, file(up+canary+"/file", "dead")),
		"absolute":         pack(t, file(canary+"/file", "dead")),
		"file":             through(file("d/out/file", "dead")),
		"by a relative":    through(file("up/file", "dead")),
		"directory":        through(entry{tar.Header{Typeflag: tar.TypeDir, Name: "d/out/below/", Mode: 0o777, Uid: 1}, ""}),
		"the link itself":  through(entry{tar.Header{Typeflag: tar.TypeDir, Name: "d/out/", Mode: 0o777, Uid: 1}, ""}),
		"link":             through(symlink("d/out/file", "dead")),
		"hardlink there":   through(hardlink("d/out/new", "d/out")),
		"hardlink from":    through(hardlink("d/got", "d/out/file")),
		"device":           through(entry{tar.Header{Typeflag: tar.TypeChar, Name: "d/out/file", Mode: 0o666, Devmajor: 1, Devminor: 3}, ""}),
		"FIFO":             through(entry{tar.Header{Typeflag: tar.TypeFifo, Name: "d/out/file", Mode: 0o666}, ""}),
		"attribute":        through(attributed),
		"over a hardlink":  pack(t, symlink("s", canary+"/file"), hardlink("h", "s"), file("h", "dead"), file("s", "dead")),
		"hardlink outside": pack(t, hardlink("h", up+canary+"/file"), file("h", "dead")),
		"root is a link":   pack(t, symlink(".", canary), file("file", "dead")),
		"two links":        pack(t, symlink("a", "b"), symlink("b", canary), file("a/file", "dead"), folder("a/below/")),
	}
}

// escapeEach uses each escape in a way that either ends in an error or does no harm.
func escapeEach(t *testing.T, use func(s *site, archive []byte) outcome) {
	t.Helper()
	t.Parallel()
	for name := range escapes(t, "/x") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			o := use(s, escapes(t, s.canary)[name])
			s.unseen(o)
			if o.code != 0 {
				s.refused(o)
			}
		})
	}
}

// context is a tar with a Dockerfile and these members.
func (s *site) tarContext(dockerfile string, members []byte) string {
	s.t.Helper()
	name := filepath.Join(s.dir, "home/context.tar")
	head := bytes.TrimSuffix(pack(s.t, file("Dockerfile", dockerfile)), tarEnd)
	must(s.t, os.WriteFile(name, append(head, members...), 0o644))
	s.own()
	return name
}

// copiesAll is a Dockerfile that copies the context and follows its links.
const copiesAll = "FROM scratch\nCOPY . /all\n"

// TestCVE2020_10696 (buildah): a context from the web has a link, and a file through it.
func TestCVE2020_10696(t *testing.T) {
	escapeEach(t, func(s *site, archive []byte) outcome {
		text, err := os.ReadFile(s.tarContext(copiesAll, archive))
		must(s.t, err)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) }))
		defer server.Close()
		return s.trowel("build", "--progress", "plain", server.URL+"/context.tar")
	})
}

// TestCVE2026_28406 (kaniko): a context archive writes into the builder's own directory; so does an image that is copied from.
func TestCVE2026_28406(t *testing.T) {
	t.Run("context", func(t *testing.T) {
		escapeEach(t, func(s *site, archive []byte) outcome {
			return s.trowel("build", "--progress", "plain", s.tarContext(copiesAll, archive))
		})
	})
	t.Run("ADD", func(t *testing.T) {
		escapeEach(t, func(s *site, archive []byte) outcome {
			s.write("a.tar", string(archive))
			s.write("Dockerfile", "FROM scratch\nADD a.tar /d/\n")
			return s.build()
		})
	})
	t.Run("COPY --from", func(t *testing.T) {
		escapeEach(t, func(s *site, archive []byte) outcome {
			s.write("Dockerfile", "FROM scratch\nCOPY --from="+s.pushBase(s.t, "evil", archive)+" / /\n")
			return s.trowel("build", "--progress", "plain", "-o", "type=local,dest="+s.dir+"/home/out", s.context)
		})
	})
}

// TestCVE2026_42574 (apko): only the writing of files looks for links, not that of directories, devices, links and attributes.
func TestCVE2026_42574(t *testing.T) {
	needRun(t)
	escapeEach(t, func(s *site, archive []byte) outcome { return s.runs("RUN true", archive) })
}

// TestCVE2021_29136 (umoci): the root of a layer is a link.
func TestCVE2021_29136(t *testing.T) {
	escapeEach(t, func(s *site, archive []byte) outcome {
		s.write("Dockerfile", "FROM "+s.pushBase(s.t, "evil", archive)+"\n")
		return s.trowel("build", "--progress", "plain", "-o", "type=local,dest="+s.dir+"/home/out", s.context)
	})
}

// TestCVE2026_44517 (buildah): the Dockerfile of a context that is cut off is a link to the host.
func TestCVE2026_44517(t *testing.T) {
	t.Parallel()
	for name, members := range map[string]func(canary string) []entry{
		"link":          func(c string) []entry { return []entry{symlink("Dockerfile", c+"/file")} },
		"through":       func(c string) []entry { return []entry{symlink("d", c), symlink("Dockerfile", "d/file")} },
		"written again": func(c string) []entry { return []entry{symlink("Dockerfile", c+"/file"), file("Dockerfile", "dead")} },
		"hardlink":      func(c string) []entry { return []entry{hardlink("Dockerfile", c+"/file")} },
	} {
		for _, cut := range []int{0, 1024, 1100} {
			t.Run(fmt.Sprint(name, cut), func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				archive := pack(t, members(s.canary)...)
				must(t, os.WriteFile(s.dir+"/home/c.tar", archive[:max(512, len(archive)-cut)], 0o644))
				o := s.trowel("build", "--progress", "plain", s.dir+"/home/c.tar")
				s.unseen(o)
				s.refused(o)
			})
		}
	}
}

// TestCVE2018_15664 and CVE-2019-14271 (docker cp): a directory is swapped for a link while it is copied.
func TestCVE2018_15664(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.write("Dockerfile", "FROM scratch\nCOPY d/f /one\nCOPY d /two\nCOPY d/* /three/\n")
	s.write("d/f", "kept")
	s.own()
	must(t, os.Symlink(s.canary, filepath.Join(s.context, "other")))
	must(t, os.WriteFile(filepath.Join(s.canary, "f"), []byte("alive"), 0o644))
	s.before = s.canaries()
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, s.context+"/d", unix.AT_FDCWD, s.context+"/other", unix.RENAME_EXCHANGE)
				time.Sleep(50 * time.Microsecond)
			}
		}
	}()
	for range 15 {
		o := s.trowel("build", "--progress", "plain", "--no-cache", "-o", "type=local,dest="+s.dir+"/home/out", s.context)
		if o.code != 0 {
			s.refused(o)
		}
		must(t, filepath.WalkDir(s.dir+"/home/out", func(p string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil //nolint:nilerr // a build that failed leaves nothing
			}
			if text, err := os.ReadFile(p); err == nil && strings.Contains(string(text), "alive") {
				t.Errorf("%s is from outside", p)
			}
			return nil
		}))
		must(t, os.RemoveAll(s.dir+"/home/out"))
	}
	close(done)
	<-ended
}

// TestCVE2025_58183 (archive/tar): the map of a sparse file has no end.
func TestCVE2025_58183(t *testing.T) {
	t.Parallel()
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, 1)
	must(t, err)
	const size = 64 << 20
	head := append(pax(record("GNU.sparse.major", "1")+record("GNU.sparse.minor", "0")+record("GNU.sparse.name", "bomb")+record("GNU.sparse.realsize", "1099511627776")),
		rawHeader("x", '0', octal(size, 12), nil)...)
	_, err = w.Write(append(head, "9999999999\n"...))
	must(t, err)
	for range size >> 21 {
		_, err = w.Write(bytes.Repeat([]byte("1\n"), 1<<20))
		must(t, err)
	}
	must(t, w.Close())
	s := newSite(t)
	s.write("bomb.tar.gz", z.String())
	s.write("Dockerfile", "FROM scratch\nADD bomb.tar.gz /\n")
	s.succeeded(s.build()) // what cannot be read as an archive is a file
	f := forge()
	f.layers, f.config["rootfs"] = [][]byte{z.Bytes()}, map[string]any{"type": "layers", "diff_ids": []string{zeroDigest}}
	s.publish(t, "evil", "1", f)
	s.refused(s.trowel("inspect", "--files", s.host()+"/evil:1"), `sparse|tar|header`)
	s.refused(s.trowel("build", "--progress", "plain", s.tarContext(copiesAll, append(head, append([]byte("9999999999\n"), bytes.Repeat([]byte("1\n"), 8<<20)...)...))), `sparse|tar|header`)
}

// TestCVE2025_61728 and other decompression bombs: a few bytes stand for any number.
func TestCVE2025_61728(t *testing.T) {
	t.Parallel()
	blob, id := swollen(t, "bomb", 1<<30)
	s := newSite(t)
	reference := s.publishSwollen(blob, id)
	s.succeeded(s.trowel("inspect", "--files", reference))
	s.write("bomb.tar.gz", string(blob))
	s.write("Dockerfile", "FROM scratch\nADD bomb.tar.gz /\n")
	s.refused(s.trowel("build", "--progress", "plain", "-o", "type=tar,dest=/dev/null", s.context), `Dockerfile:2`, `expands to too much`)
}

// TestCVE2026_33747 (BuildKit): the name of a file from the web is a path.
func TestCVE2026_33747(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Disposition", `attachment; filename="../../../../../../`+s.canary+`/file"`)
		_, _ = w.Write([]byte("dead"))
	}))
	defer server.Close()
	up := strings.Repeat("..%2f", 12) + strings.ReplaceAll(s.canary[1:], "/", "%2f") + "%2ffile"
	for _, path := range []string{"/f", "/" + up, "/%2e%2e", "/..", "/", "/a%00b", "/.wh.x"} {
		s.write("Dockerfile", "FROM scratch\nADD "+server.URL+path+" /d/\n")
		o := s.trowel("build", "--progress", "plain", "-o", "type=local,dest="+s.dir+"/home/out", s.context)
		if o.code != 0 {
			s.refused(o, `Dockerfile:2`)
		}
		must(t, os.RemoveAll(s.dir+"/home/out"))
	}
}

// TestCVE2026_15788, of those that BuildKit 0.31.2 closed: an output goes where a link in its destination leads. The others are in
// TestCVE2026_15789, TestGHSAhw3h_2gp9_cxpv and TestCVE2024_23650.
func TestCVE2026_15788(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(out, canary string) error{
		"directory is a link": func(out, canary string) error { return os.Symlink(canary, out+"/d") },
		"file is a link":      func(out, canary string) error { return os.Symlink(canary+"/file", out+"/file") },
		"deeper": func(out, canary string) error {
			if err := os.Mkdir(out+"/d", 0o755); err != nil {
				return err
			}
			return os.Symlink(canary, out+"/d/below")
		},
		"hardlink": func(out, canary string) error { return os.Link(canary+"/file", out+"/file") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			out := s.dir + "/home/out"
			must(t, os.Mkdir(out, 0o755))
			must(t, prepare(out, s.canary))
			s.write("file", "dead")
			s.write("d/file", "dead")
			s.write("d/below/file", "dead")
			s.write("Dockerfile", "FROM scratch\nCOPY file /\nCOPY d /d\n")
			if o := s.trowel("build", "--progress", "plain", "-o", "type=local,dest="+out, s.context); o.code != 0 {
				s.refused(o)
			}
		})
	}
}
