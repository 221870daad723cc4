package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// endless is zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// swollen makes a layer with a file of zeros, compressed, and its diff ID.
func swollen(t *testing.T, name string, size int64) ([]byte, digest.Digest) {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, 1)
	must(t, err)
	sum := digest.SHA256.Digester()
	w := tar.NewWriter(io.MultiWriter(z, sum.Hash()))
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size}))
	_, err = io.CopyN(w, endless{}, size)
	must(t, err)
	must(t, w.Close())
	must(t, z.Close())
	return b.Bytes(), sum.Digest()
}

// publishSwollen serves the image with a shell, and such a layer on top.
func (s *site) publishSwollen(blob []byte, diffID digest.Digest) string {
	s.t.Helper()
	img, err := sharedBase()
	must(s.t, err)
	layers, err := img.Layers()
	must(s.t, err)
	f := forge()
	ids := []string{}
	for _, l := range layers {
		r, err := l.Compressed()
		must(s.t, err)
		text, err := io.ReadAll(r)
		must(s.t, err)
		f.layers = append(f.layers, text)
		id, err := l.DiffID()
		must(s.t, err)
		ids = append(ids, id.String())
	}
	f.layers = append(f.layers, blob)
	f.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": append(ids, diffID.String())}
	s.publish(s.t, "swollen", "1", f)
	return s.host() + "/swollen:1"
}

// TestCVE2026_47262, GHSA-72x6-4j93-7w86 and GHSA-mjcv-p78q-w5fw (containerd, BuildKit, moby): an image has an /etc/passwd of 1 GB.
func TestCVE2026_47262(t *testing.T) {
	t.Parallel()
	needRun(t)
	blob, id := swollen(t, "etc/passwd", 1<<30)
	for name, c := range map[string]struct {
		lines string
		want  []string
	}{
		"USER":           {"USER app\nRUN true\n", []string{`Dockerfile:3`, `/etc/passwd`, `1073741824`}},
		"USER by number": {"USER 1000\nRUN true\n", []string{`Dockerfile:3`, `/etc/passwd`, `1073741824`}},
		"COPY --chown":   {"COPY --chown=app Dockerfile /\n", []string{`Dockerfile:2`, `/etc/passwd`, `1073741824`}},
		"WORKDIR":        {"USER app\nWORKDIR /w\n", []string{`Dockerfile:3`, `/etc/passwd`, `1073741824`}},
		"COPY":           {"COPY Dockerfile /\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.write("Dockerfile", "FROM "+s.publishSwollen(blob, id)+"\n"+c.lines)
			o := s.build()
			t.Logf("%v %d MiB, exit code %d: %s", o.took, o.memory>>20, o.code, complaint(o.stderr))
			if c.want == nil {
				s.succeeded(o)
				return
			}
			s.refused(o, c.want...)
		})
	}
}

// TestHostileBomb runs on a base with a file of 2 GiB in a blob of a few MiB: neither this process nor the file system in
// memory may hold it.
func TestHostileBomb(t *testing.T) {
	t.Parallel()
	needRun(t)
	blob, id := swollen(t, "bomb", 2<<30)
	s := newSite(t)
	s.write("Dockerfile", "FROM "+s.publishSwollen(blob, id)+"\nRUN true\n")
	before := inMemory(t)
	most, stop := int64(0), make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				most = max(most, inMemory(t)-before)
			}
		}
	}()
	o := s.build("--tree-memory", "100MiB")
	close(stop)
	<-watched
	t.Logf("%v %d MiB, %d MiB in /dev/shm: %s", o.took, o.memory>>20, most>>20, complaint(o.stderr))
	s.succeeded(o)
	if most > 1<<30 { // other tests may use some
		t.Errorf("%d MiB were put into /dev/shm", most>>20)
	}
}

// inMemory is how much /dev/shm holds.
func inMemory(t *testing.T) int64 {
	var fs unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &fs); err != nil {
		t.Log(err)
		return 0
	}
	return int64(fs.Blocks-fs.Bfree) * fs.Bsize //nolint:unconvert // differs by platform
}

// TestHostileDepth unpacks directories that lie 100,000 deep in each other, and as many as the limit of a path permits.
func TestHostileDepth(t *testing.T) {
	t.Parallel()
	deep := func(n int) []byte {
		var b bytes.Buffer
		path := strings.Repeat("d/", n)
		b.Write(pax(record("path", path)))
		b.Write(rawHeader("d", '5', "00000000000\x00", nil))
		b.Write(tarEnd)
		return b.Bytes()
	}
	for way, use := range ways {
		for n, want := range map[int]string{100_000: `path|long|tar`, 2000: ""} {
			t.Run(fmt.Sprintf("%s/%d", way, n), func(t *testing.T) {
				t.Parallel()
				var options []siteOption
				if way == "RUN as user" {
					options = append(options, asUser)
				}
				if strings.HasPrefix(way, "RUN") {
					needRun(t)
				}
				s := newSite(t, options...)
				layer := deep(n)
				s.write("layer0.tar", string(layer))
				base := s.pushBase(t, "deep", layer)
				s.own()
				o := use(s, base)
				t.Logf("%v %d MiB, exit code %d: %.300s", o.took, o.memory>>20, o.code, complaint(o.stderr))
				if want != "" {
					s.refused(o, want)
				} else {
					s.succeeded(o)
				}
			})
		}
	}
}
