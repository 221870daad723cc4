package base

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// FuzzArchives opens archives of images whose documents, and whose tar, say what they like.
func FuzzArchives(f *testing.F) {
	f.Add(`[{"Config":"c","RepoTags":["a:1"],"Layers":["l","../l"]}]`, `{"schemaVersion":2,"manifests":[{"digest":"sha256:x","size":-1}]}`, "c", []byte(nil))
	f.Add(`[{"Config":"/etc/passwd","Layers":null}]`, `{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}]}`, "blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", []byte("x"))
	f.Add(`null`, `[]`, "", []byte(nil))
	f.Fuzz(func(t *testing.T, manifest, index, name string, tail []byte) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, m := range []struct{ name, text string }{{"manifest.json", manifest}, {"index.json", index}, {name, string(tail)}} {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: m.name, Size: int64(len(m.text)), Mode: 0o644}); err != nil {
				return
			}
			_, _ = w.Write([]byte(m.text)) // a buffer takes everything
		}
		file := filepath.Join(t.TempDir(), "a.tar")
		if err := os.WriteFile(file, append(b.Bytes(), tail...), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, scheme := range []string{SchemeDockerArchive, SchemeOCIArchive} {
			s, err := OpenSource(t.Context(), nil, scheme+file)
			if err != nil {
				continue
			}
			if i, err := s.Image(t.Context(), ocispec.Platform{OS: "linux", Architecture: "amd64"}); err == nil && i == nil {
				t.Error("no image, and no error")
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
