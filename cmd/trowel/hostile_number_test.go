//go:build e2e

package main

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// manyFiles is how many files TestHostileNumber unpacks.
const manyFiles = 300_000

// forMany lets a build hold what an index of so many files takes.
func forMany(s *site) { s.memory = manyFiles * 3 << 10 }

// TestHostileNumber unpacks 300,000 files, each of which costs a moment and 3 KiB at most.
func TestHostileNumber(t *testing.T) {
	var b bytes.Buffer
	for i := range manyFiles {
		if i%1000 == 0 {
			b.Write(rawHeader(fmt.Sprintf("many/%d/", i/1000), '5', octal(0, 12), nil))
		}
		b.Write(bare(fmt.Sprintf("many/%d/%d", i/1000, i), '0', nil))
	}
	b.Write(tarEnd)
	for _, way := range []string{"RUN", "COPY from it", "ADD", "context", "inspect", "local"} {
		t.Run(way, func(t *testing.T) {
			if way == "RUN" {
				needRun(t)
			}
			s := newSite(t, forMany)
			s.write("layer0.tar", b.String())
			base := s.pushBase(t, "many", b.Bytes())
			o := ways[way](s, base)
			t.Logf("%v %d MiB", o.took, o.memory>>20)
			s.succeeded(o)
			if o.took > 150*time.Second {
				t.Errorf("it took %v", o.took)
			}
		})
	}
	for kind, use := range around {
		t.Run(kind, func(t *testing.T) {
			o := use(newSite(t, forMany), b.Bytes())
			t.Logf("%v %d MiB: %s", o.took, o.memory>>20, complaint(o.stderr))
			if o.code == 0 {
				t.Error("it is taken")
			}
			if o.took > 150*time.Second {
				t.Errorf("it took %v", o.took)
			}
		})
	}
}
