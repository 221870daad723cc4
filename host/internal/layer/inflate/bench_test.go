package inflate

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/klauspost/compress/gzip"
)

func BenchmarkFile(b *testing.B) {
	data, err := os.ReadFile(os.Getenv("F"))
	if err != nil {
		b.Skip()
	}
	z, _ := gzip.NewReader(bytes.NewReader(data))
	want, _ := io.ReadAll(z)
	r, _ := NewReader(bytes.NewReader(data))
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		b.Fatal(err, len(got), len(want))
	}
	n := int64(len(want))
	buf := make([]byte, 256<<10)
	b.Run("klauspost", func(b *testing.B) {
		b.SetBytes(n)
		for b.Loop() {
			z, _ := gzip.NewReader(bytes.NewReader(data))
			for {
				if _, err := z.Read(buf); err != nil {
					break
				}
			}
		}
	})
	b.Run("inflate", func(b *testing.B) {
		b.SetBytes(n)
		for b.Loop() {
			z, _ := NewReader(bytes.NewReader(data))
			for {
				if _, err := z.Read(buf); err != nil {
					break
				}
			}
		}
	})
}
