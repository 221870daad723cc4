package executor

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// CVE-2024-23651: another step swaps the source of a mount, in a cache that both share, for a link that leads out, without a
// moment in which there is neither. Whenever it is looked at, what the mount shows is the cache's.
func TestSwappedSource(t *testing.T) {
	t.Parallel()
	outside, cache := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "file"), []byte("host"), 0o644))
	must(t, os.MkdirAll(filepath.Join(cache, "sub"), 0o755))
	must(t, os.WriteFile(filepath.Join(cache, "sub/file"), []byte("cache"), 0o644))
	must(t, os.Symlink(outside, filepath.Join(cache, "link")))
	var ended atomic.Bool
	swapped := make(chan int)
	go func() {
		n := 0
		for !ended.Load() {
			if unix.Renameat2(unix.AT_FDCWD, filepath.Join(cache, "sub"), unix.AT_FDCWD, filepath.Join(cache, "link"), unix.RENAME_EXCHANGE) == nil {
				n++
			}
		}
		swapped <- n
	}()
	r := newRootfs(t, 1)
	must(t, os.MkdirAll(filepath.Join(base(r), "mnt"), 0o755))
	dir, err := os.Open(cache)
	must(t, err)
	defer dir.Close()
	shown, refused := 0, 0
	for i := 0; i < 60 || (shown == 0 || refused == 0) && i < 2000; i++ {
		p := command("cat", "/mnt/file")
		p.Mounts = []Mount{{Kind: MountBind, File: dir, SubPath: "sub", Target: "/mnt"}}
		if i%2 == 1 {
			p.Mounts = []Mount{{Kind: MountBind, Source: cache, SubPath: "sub", Target: "/mnt"}}
		}
		switch got, err := outputOf(t, r, p); {
		case err != nil && strings.Contains(err.Error(), "open mount source"):
			refused++
		case err != nil:
			t.Fatal(got, err)
		case got != "cache":
			t.Fatalf("the process sees %q", got)
		default:
			shown++
		}
	}
	ended.Store(true)
	n := <-swapped
	t.Logf("%d mounts shown, %d refused, %d swaps", shown, refused, n)
	if shown == 0 || refused == 0 || n < 100 {
		t.Errorf("%d shown, %d refused, %d swaps: there was no race", shown, refused, n)
	}
}
