package rootfs_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
	"github.com/trowel-build/trowel/host/internal/rootfs/rootfstest"
)

// BenchmarkUnpack unpacks a layer like Debian's: 9,000 files of 170 MB in 1,000 directories.
func BenchmarkUnpack(b *testing.B) {
	var items []item
	for i := range 1000 {
		d := fmt.Sprintf("usr/share/d%03d", i)
		items = append(items, dir(d, 0o755))
		for j := range 9 {
			size := 4 << 10
			if j == 0 {
				size = 140 << 10
			}
			f := file(fmt.Sprintf("%s/f%d", d, j), "")
			f.Size = int64(size)
			items = append(items, f)
		}
	}
	items = layer(items)
	tree, err := filetree.Empty().Apply(entries(items), nil)
	if err != nil {
		b.Fatal(err)
	}
	content := make([]byte, 140<<10)
	for b.Loop() {
		d, err := os.MkdirTemp(b.TempDir(), "")
		if err != nil {
			b.Fatal(err)
		}
		u, err := rootfs.NewUnpacker(d, rootfstest.Options(b))
		if err != nil {
			b.Fatal(err)
		}
		for i := range items {
			if err := u.Entry(items[i].Entry, bytes.NewReader(content)); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := u.Finish(filetree.Empty(), tree); err != nil {
			b.Fatal(err)
		}
		if err := u.Close(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := rootfs.RemoveAll(d); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(9000*b.N)/b.Elapsed().Seconds(), "files/s")
}
