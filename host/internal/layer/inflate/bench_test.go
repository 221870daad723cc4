package inflate

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// BenchmarkReader decompresses text, then a program, beside what this package is in place of.
func BenchmarkReader(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		b.Fatal(err)
	}
	data := append(text(len(program), 1), program...)
	z := zipped(b, data, standard)
	buf := make([]byte, 256<<10)
	for name, open := range map[string]func(io.Reader) (io.Reader, error){
		"klauspost": func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		"inflate":   func(r io.Reader) (io.Reader, error) { return NewReader(r) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				r, err := open(bytes.NewReader(z))
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
				if err != nil || n != int64(len(data)) {
					b.Fatalf("%d bytes, %v", n, err)
				}
			}
		})
	}
}
