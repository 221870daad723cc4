package base

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// entry is a member of an archive: a file, or a link of that type.
type entry struct {
	name, text string
	typ        byte
}

func writeTar(t *testing.T, entries ...entry) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: 0o644, Size: int64(len(e.text))}
		if e.typ != 0 {
			h = &tar.Header{Typeflag: e.typ, Name: e.name, Linkname: e.text}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if e.typ == 0 {
			if _, err := io.WriteString(w, e.text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestArchiveOpen(t *testing.T) {
	t.Parallel()
	a, err := openArchive(writeTar(
		t,
		entry{name: "./plain", text: "one"},
		entry{name: "dir/file", text: "two"},
		entry{name: "dir/link", text: "../plain", typ: tar.TypeSymlink},
		entry{name: "hard", text: "dir/file", typ: tar.TypeLink},
		entry{name: "loop", text: "loop", typ: tar.TypeSymlink},
		entry{name: "out", text: "../../../etc/passwd", typ: tar.TypeSymlink},
		entry{name: "fifo", typ: tar.TypeFifo},
		entry{name: strings.Repeat("long/", 60) + "name", text: "three"},
		entry{name: "plain", text: "again"}, // the later one counts, as for tar
	))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for name, want := range map[string]string{
		"plain": "again", "dir/file": "two", "dir/link": "again", "hard": "two", strings.Repeat("long/", 60) + "name": "three",
		"loop": "", "out": "", "fifo": "", "absent": "", "dir": "",
	} {
		f, err := a.open(name)
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "has no file") {
				t.Errorf("open %q: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("open %q: %v", name, err)
			continue
		}
		if got, err := io.ReadAll(f); err != nil || string(got) != want || f.size() != int64(len(want)) {
			t.Errorf("%q is %q with %d bytes, %v", name, got, f.size(), err)
		}
	}
}

func TestArchiveRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if err := errors.Join(z.Close(), os.WriteFile(filepath.Join(dir, "zipped"), zipped.Bytes(), 0o600), os.WriteFile(filepath.Join(dir, "text"), bytes.Repeat([]byte("text"), 200), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		filepath.Join(dir, "zipped"): "run gunzip first",
		filepath.Join(dir, "text"):   "read tar",
		filepath.Join(dir, "absent"): "no such file",
		dir:                          "not a regular file",
		"/dev/null":                  "not a regular file",
	} {
		if _, err := openArchive(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("open %q: %v, want %q", name, err, want)
		}
	}
}

// TestOCIArchiveVerified: what an archive calls by a digest is what it gives, or an error.
func TestOCIArchiveVerified(t *testing.T) {
	t.Parallel()
	blob := "the content"
	right := digest.FromString(blob)
	manifest := `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageManifest + `","config":{},"layers":[]}`
	index := func(d digest.Digest) string {
		text, err := json.Marshal(ocispec.Index{Manifests: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: int64(len(manifest))}}})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	at := func(d digest.Digest) string { return "blobs/sha256/" + d.Encoded() }
	good := writeTar(t, entry{name: "index.json", text: index(digest.FromString(manifest))}, entry{name: at(digest.FromString(manifest)), text: manifest}, entry{name: at(right), text: blob})
	s, err := OpenSource(t.Context(), nil, SchemeOCIArchive+good)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for offset, want := range map[int64]string{0: blob, 4: blob[4:]} {
		r, err := s.Blob(t.Context(), ocispec.Descriptor{Digest: right, Size: int64(len(blob))}, offset)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != want {
			t.Errorf("from %d on: %q, %v", offset, got, err)
		}
	}
	if r, err := s.Blob(t.Context(), ocispec.Descriptor{Digest: right, Size: 3}, 0); err != nil {
		t.Error(err)
	} else if _, err := io.ReadAll(r); err == nil {
		t.Error("a blob of another size was read")
	}
	bad := writeTar(t, entry{name: "index.json", text: index(right)}, entry{name: at(right), text: manifest})
	if _, err := OpenSource(t.Context(), nil, SchemeOCIArchive+bad); err == nil || !strings.Contains(err.Error(), "has digest") {
		t.Errorf("a manifest with another digest: %v", err)
	}
}

// TestDockerArchiveVerified: a file that is named by a digest it has not is found out when it is read.
func TestDockerArchiveVerified(t *testing.T) {
	t.Parallel()
	wrong := "blobs/sha256/" + digest.FromString("something else").Encoded()
	config := `{"os":"linux","rootfs":{"type":"layers","diff_ids":["` + digest.FromString("x").String() + `"]}}`
	file := writeTar(t, entry{name: "manifest.json", text: fmt.Sprintf(`[{"Config":"c.json","Layers":[%q]}]`, wrong)}, entry{name: "c.json", text: config}, entry{name: wrong, text: "layer"})
	s, err := OpenSource(t.Context(), nil, SchemeDockerArchive+file)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var m ocispec.Manifest
	if err := json.Unmarshal(s.Document, &m); err != nil {
		t.Fatal(err)
	}
	if m.Config.Digest != digest.FromString(config) || m.Config.MediaType != ocispec.MediaTypeImageConfig || m.Layers[0].MediaType != ocispec.MediaTypeImageLayer {
		t.Errorf("manifest %s", s.Document)
	}
	r, err := s.Blob(t.Context(), m.Layers[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err == nil {
		t.Errorf("read %q under a wrong digest", got)
	}
}

func TestOpenSourceScheme(t *testing.T) {
	t.Parallel()
	for reference, want := range map[string]string{
		"ftp://x":               `unknown scheme "ftp"`,
		"docker-archive://none": "no such file",
		"oci-archive://none:1":  "no such file",
		"oci-layout://none":     "no such file",
		"docker-image://UP:x:y": "parse image reference",
	} {
		if _, err := OpenSource(context.Background(), nil, reference); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("open %q: %v, want %q", reference, err, want)
		}
	}
}
