package layer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/image"
)

// dirSource reads files of a directory.
type dirSource struct{ dir string }

func (s *dirSource) Open(_ context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	return os.Open(filepath.Join(s.dir, ref.Path))
}

// goTree makes changes of Go's own source tree: some 11,000 files.
func goTree(b *testing.B) []filetree.Change {
	b.Helper()
	dir := filepath.Join(runtime.GOROOT(), "src") //nolint:staticcheck // the tree of the tool chain that runs the benchmark
	source := &dirSource{dir}
	var changes []filetree.Change
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		c := filetree.Change{Entry: filetree.Entry{Path: rel, Type: filetree.Directory, Mode: 0o755, ModTime: info.ModTime().UnixNano()}}
		if info.Mode().IsRegular() {
			c.Type, c.Size, c.Source, c.From = filetree.Regular, info.Size(), source, filetree.Ref{Path: rel, Size: info.Size()}
		}
		changes = append(changes, c)
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	slices.SortFunc(changes, func(x, y filetree.Change) int { return filetree.Compare(x.Path, y.Path) })
	return changes
}

// blobFiles are the two files of the benchmark "blob", smaller: noise, and a program many times.
func blobFiles(b *testing.B) []filetree.Change {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		b.Fatal(err)
	}
	noise := make([]byte, 64<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // never fails
	s := &contents{files: map[string]string{"binary": string(bytes.Repeat(program, 1+len(noise)/len(program))), "random": string(noise)}}
	var changes []filetree.Change
	for _, p := range []string{"binary", "random"} {
		e := filetree.Entry{Path: p, Type: filetree.Regular, Size: int64(len(s.files[p]))}
		changes = append(changes, filetree.Change{Entry: e, Source: s, From: filetree.Ref{Path: p, Size: e.Size}})
	}
	return changes
}

func BenchmarkWrite(b *testing.B) {
	for name, changes := range map[string][]filetree.Change{"tree": goTree(b), "blob": blobFiles(b)} {
		for _, o := range []Options{
			{Compression: image.Uncompressed},
			{Compression: image.Gzip, Level: 1},
			{Compression: image.Gzip, Level: 3},
			{Compression: image.Gzip, Level: 4},
			{Compression: image.Gzip},
			{Compression: image.Gzip, Level: 6},
			{Compression: image.Zstd},
		} {
			b.Run(fmt.Sprintf("%s/%s-%d", name, o.Compression, o.Level), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					s := newStore(b)
					b.StartTimer()
					l := mustWrite(b, s, changes, o)
					b.SetBytes(l.Size)
					_, size, err := l.Blob.Wait(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(size)/float64(l.Size), "ratio")
					b.StopTimer()
					_ = os.Remove(l.Blob.File())
					b.StartTimer()
				}
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	changes := goTree(b)
	for _, compression := range []image.Compression{image.Uncompressed, image.Gzip, image.Zstd} {
		b.Run(string(compression), func(b *testing.B) {
			l := mustWrite(b, newStore(b), changes, Options{Compression: compression})
			b.SetBytes(l.Size)
			b.ReportAllocs()
			for b.Loop() {
				r, err := l.Blob.Open(b.Context(), 0)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := Read(b.Context(), r, ReadOptions{DiffID: l.DiffID}); err != nil {
					b.Fatal(err)
				}
				_ = r.Close()
			}
		})
	}
}

func BenchmarkIndex(b *testing.B) {
	x := debian(11_000)
	data, err := EncodeIndex(x)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := EncodeIndex(x); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := DecodeIndex(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
