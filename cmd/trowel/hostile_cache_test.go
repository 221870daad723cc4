package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// cacheFiles are the files of a kind in the site's cache.
func (s *site) cacheFiles(kind string) []string {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, "home/.cache/trowel/v1", kind))
	must(s.t, err)
	if len(found) == 0 {
		s.t.Fatalf("the cache has no %s", kind)
	}
	return found
}

// replace puts other content in a file's place, under its name.
func (s *site) replace(name string, change func([]byte) []byte) {
	s.t.Helper()
	text, err := os.ReadFile(name)
	must(s.t, err)
	must(s.t, os.Remove(name)) // a blob may be linked
	must(s.t, os.WriteFile(name, change(text), 0o644))
}

// TestHostileCache builds with a cache that was damaged or is not what it should be: the image is the same.
func TestHostileCache(t *testing.T) {
	t.Parallel()
	const records, blobs = "records/*/*", "blobs/sha256/*/*"
	other := zip(bytes.Repeat([]byte{0}, 10240)) // an empty tar
	for name, spoil := range map[string]func(*site){
		"records are cut short": func(s *site) {
			for _, f := range s.cacheFiles(records) {
				s.replace(f, func(b []byte) []byte { return b[:len(b)/2] })
			}
		},
		"records are empty": func(s *site) {
			for _, f := range s.cacheFiles(records) {
				s.replace(f, func([]byte) []byte { return nil })
			}
		},
		"records are garbage": func(s *site) {
			for _, f := range s.cacheFiles(records) {
				s.replace(f, func(b []byte) []byte { return bytes.Repeat([]byte("\x00\xff"), len(b)) })
			}
		},
		"blobs are garbage of the same size": func(s *site) {
			for _, f := range s.cacheFiles(blobs) {
				s.replace(f, func(b []byte) []byte { return bytes.Repeat([]byte{'x'}, len(b)) })
			}
		},
		"blobs are cut short": func(s *site) {
			for _, f := range s.cacheFiles(blobs) {
				s.replace(f, func(b []byte) []byte { return b[:len(b)/2] })
			}
		},
		"blobs are another gzip": func(s *site) {
			for _, f := range s.cacheFiles(blobs) {
				s.replace(f, func(b []byte) []byte {
					return append(bytes.Clone(other), make([]byte, max(0, len(b)-len(other)))...)[:len(b)]
				})
			}
		},
		"blobs have changed places": func(s *site) {
			all := s.cacheFiles(blobs)
			first, err := os.ReadFile(all[0])
			must(s.t, err)
			for i, f := range all {
				if i+1 < len(all) {
					next, err := os.ReadFile(all[i+1])
					must(s.t, err)
					s.replace(f, func([]byte) []byte { return next })
				} else {
					s.replace(f, func([]byte) []byte { return first })
				}
			}
		},
		"blobs are directories": func(s *site) {
			for _, f := range s.cacheFiles(blobs) {
				must(s.t, os.Remove(f))
				must(s.t, os.Mkdir(f, 0o755))
			}
		},
		"blobs are FIFOs": func(s *site) {
			for _, f := range s.cacheFiles(blobs) {
				must(s.t, os.Remove(f))
				must(s.t, unix.Mkfifo(f, 0o644))
			}
		},
		"records are links out": func(s *site) {
			for _, f := range append(s.cacheFiles(records), s.cacheFiles(blobs)...) {
				must(s.t, os.Remove(f))
				must(s.t, os.Symlink(s.canary+"/file", f))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			base := s.pushBase(t, "1")
			s.write("Dockerfile", "FROM "+base+"\nCOPY --chown=app f /f\nCOPY g /g\n")
			s.write("f", strings.Repeat("some text\n", 1000))
			s.write("g", "more")
			args := []string{"build", "-q", "--build-arg", "SOURCE_DATE_EPOCH=1600000000", "-t", s.host() + "/app:1", "--push", s.context}
			first := s.trowel(args...)
			s.succeeded(first)
			spoil(s)
			again := s.trowel(args...)
			s.succeeded(again)
			if again.stdout != first.stdout {
				t.Errorf("the image was %s, and is %s", first.stdout, again.stdout)
			}
			healed := s.trowel(append([]string{"build", "--progress", "plain", "-t", s.host() + "/app:2", "-o", "type=oci,dest=" + s.dir + "/home/o.tar"}, args[2:]...)...)
			s.succeeded(healed)
			t.Logf("%s%s", again.stderr, healed.stderr)
		})
	}
}

// TestHostileCacheDirectory names cache directories that are none.
func TestHostileCacheDirectory(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(dir string) error
		option  siteOption
		want    []string // none: it succeeds
	}{
		"of the future": {func(dir string) error {
			return os.WriteFile(dir+"/FORMAT", []byte("trowel-cache 99\n"), 0o644)
		}, nil, []string{`home/cache`, `trowel-cache 99`, `newer`}},
		"not ours":         {func(dir string) error { return os.WriteFile(dir+"/precious", nil, 0o644) }, nil, []string{`home/cache`, `"precious"`}},
		"another FORMAT":   {func(dir string) error { return os.WriteFile(dir+"/FORMAT", []byte("\x1b[31mPDF"), 0o644) }, nil, []string{`home/cache`, `FORMAT`}},
		"FORMAT leads out": {func(dir string) error { return os.Symlink("../../canary/file", dir+"/FORMAT") }, nil, []string{`home/cache`}},
		"v1 leads out":     {func(dir string) error { return os.Symlink("../../canary", dir+"/v1") }, nil, []string{`home/cache`}},
		"a file":           {func(dir string) error { return os.WriteFile(dir+"/f", nil, 0o644) }, nil, []string{`home/cache`}},
		"read-only":        {func(dir string) error { return os.Chmod(dir, 0o555) }, asUser, []string{`home/cache`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var options []siteOption
			if c.option != nil {
				options = append(options, c.option)
			}
			s := newSite(t, options...)
			dir := filepath.Join(s.dir, "home/cache")
			must(t, os.Mkdir(dir, 0o755))
			must(t, c.prepare(dir))
			s.write("Dockerfile", "FROM scratch\nCOPY f /\n")
			s.write("f", "f")
			s.own()
			o := s.build("--cache-dir", dir)
			t.Log(complaint(o.stderr))
			s.refused(o, c.want...)
		})
	}
}
