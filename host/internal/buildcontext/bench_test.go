package buildcontext

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// BenchmarkTree indexes a context of 20,000 files in memory's file cache; files/s is the figure to watch.
func BenchmarkTree(b *testing.B) {
	dir := b.TempDir()
	const dirs, each = 200, 100
	for i := range dirs {
		d := filepath.Join(dir, fmt.Sprintf("src/package-%03d", i))
		if err := os.MkdirAll(d, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range each {
			if err := os.WriteFile(filepath.Join(d, fmt.Sprintf("file-%03d.go", j)), []byte("x"), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	for name, rules := range map[string]string{"plain": "", "rules": "**/*.o\n.git\n**/node_modules\n*.md\n!README.md\nbuild\n", "ignored": "src\n"} {
		b.Run(name, func(b *testing.B) {
			c := open(b, dir, Options{})
			var err error
			if c.ignore, err = parseIgnoreFile("ignore", []byte(rules)); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				tree, err := c.Tree(b.Context(), []string{"."})
				if err != nil {
					b.Fatal(err)
				}
				runtime.KeepAlive(tree)
			}
			b.ReportMetric(float64(dirs*each)*float64(b.N)/b.Elapsed().Seconds(), "files/s")
		})
	}
}
