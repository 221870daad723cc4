package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/sdk"
)

// writerEnv makes the test binary a process that writes to the cache in the directory that it names.
const writerEnv = "TROWEL_TEST_CACHE_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		fmt.Fprintln(os.Stderr, writeForever(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const crashKeys = 16

// crashContent is the i-th content that writers put. Long ones take several writes.
func crashContent(i int) []byte {
	return bytes.Repeat([]byte{byte(i), byte(i >> 8), 'x'}, 10+i*7919%90_000)
}

// writeForever puts blobs and records until the process is killed. Each value of a record repeats one byte.
func writeForever(dir string) error {
	c, err := Open(Config{Dir: dir, MaxSize: 8 << 20})
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(dir), "offered")
	if err != nil {
		return err
	}
	fmt.Println("writing")
	ctx := context.Background()
	for i := rand.IntN(1000); ; i++ {
		content := crashContent(i % 1000)
		offer := inMemory(content)
		if i%3 == 0 {
			offer.File = fmt.Sprint(file.Name(), i)
			if err := os.WriteFile(offer.File, content, 0o644); err != nil {
				return err
			}
		}
		if err := c.PutBlob(ctx, blobOf(content), offer); err != nil {
			return err
		}
		_ = os.Remove(offer.File)
		value := bytes.Repeat([]byte{byte(i)}, rand.IntN(100_000))
		if err := c.PutRecords(ctx, []sdk.Record{{Key: sdk.Key(fmt.Sprint("crash/", i%crashKeys)), Value: value}}); err != nil {
			return err
		}
	}
}

// Processes are killed while they write; whatever is served afterwards is whole, and nothing is left behind.
func TestKilledWritersLeaveNothingHalf(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	served := 0
	for round := range rounds {
		killWriter(t, dir)
		if round%10 == 9 {
			served += checkWhole(t, dir)
		}
	}
	if served == 0 {
		t.Error("nothing was ever served: the writers were killed before they wrote")
	}
	c := openCache(t, Config{Dir: dir})
	if names, err := readNames(c.root, scratchDir); err != nil || len(names) > 0 {
		t.Errorf("temporary files of processes that are gone: %q, %v", names, err)
	}
}

func killWriter(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, len("writing"))); err != nil {
		t.Fatalf("the writer did not start: %v: %s", err, stderr.String())
	}
	time.Sleep(time.Duration(rand.IntN(15_000)) * time.Microsecond)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatalf("the writer ended by itself: %s", stderr.String())
	}
	_ = cmd.Wait()
	if stderr.Len() > 0 {
		t.Fatalf("the writer failed: %s", stderr.String())
	}
}

// checkWhole reads all that the cache serves and says how much that was.
func checkWhole(t *testing.T, dir string) int {
	t.Helper()
	c, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	served := 0
	for i := range 1000 {
		content := crashContent(i)
		held, err := c.GetBlob(t.Context(), blobOf(content).Digest)
		if err != nil {
			continue
		}
		served++
		got, err := os.ReadFile(held.File)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("blob %d is served with %d bytes that are not its own %d: %v", i, len(got), len(content), err)
		}
	}
	for i := range crashKeys {
		records, err := c.GetRecords(t.Context(), []sdk.Key{sdk.Key(fmt.Sprint("crash/", i))})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			served++
			if len(r.Value) > 0 && len(bytes.Trim(r.Value, string(r.Value[:1]))) > 0 {
				t.Errorf("record %q mixes values", r.Key)
			}
		}
	}
	// Nothing in place may be damaged either: it would never be served, and never go.
	entries, err := c.files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range entries {
		if strings.HasPrefix(f.name, recordDir) {
			if _, _, err := c.readRecord(f.name); err != nil {
				t.Errorf("record file %q: %v", f.name, err)
			}
			continue
		}
		info, err := c.root.Stat(f.name)
		if err != nil {
			t.Fatal(err)
		}
		if want := f.name[strings.LastIndexByte(f.name, '.')+1:]; fmt.Sprint(info.Size()) != want {
			t.Errorf("blob file %q has %d bytes", f.name, info.Size())
		}
	}
	return served
}

// A process that is alive keeps its temporary files when another one opens the cache.
func TestOpenKeepsWhatLivingProcessesWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := openCache(t, Config{Dir: dir})
	put(t, c, []byte("x"))
	left := filepath.Join(dir, "v1/tmp/LEFT")
	for _, name := range []string{left + lockSuffix, filepath.Join(dir, "v1/tmp/DIRONLY/1"), filepath.Join(left, "1")} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("half a blo"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	openCache(t, Config{Dir: dir})
	put(t, c, []byte("y"))
	names, err := readNames(c.root, scratchDir)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != 2 || !strings.Contains(strings.Join(names, " "), filepath.Base(c.scratch.name)) {
		t.Errorf("below tmp are %q, want what belongs to the living process alone", names)
	}
}

// A full disk is an error that says what to do, and leaves nothing.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := mountTmpfs(t, "size=1m")
	c := openCache(t, Config{Dir: dir})
	content := bytes.Repeat([]byte("full"), 1<<20)
	err := c.PutBlob(t.Context(), blobOf(content), inMemory(content))
	if err == nil || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), "make room below") {
		t.Errorf("PutBlob on a full disk: %v", err)
	}
	if holds(t, c, blobOf(content).Digest) {
		t.Error("half a blob is held")
	}
	var last error
	for i := range 40 {
		last = c.PutRecords(t.Context(), []sdk.Record{{Key: sdk.Key(fmt.Sprint("full/", i)), Value: bytes.Repeat([]byte("v"), 100_000)}})
	}
	if last == nil || !strings.Contains(last.Error(), "no space left") {
		t.Errorf("PutRecords on a full disk: %v", last)
	}
	for i := range 40 {
		records, err := c.GetRecords(t.Context(), []sdk.Key{sdk.Key(fmt.Sprint("full/", i))})
		if err != nil {
			t.Error(err)
		}
		for _, r := range records {
			if len(r.Value) != 100_000 {
				t.Errorf("record %q has %d bytes", r.Key, len(r.Value))
			}
		}
	}
	if names, err := readNames(c.root, c.scratch.name); err != nil || len(names) > 0 {
		t.Errorf("temporary files are left: %q, %v", names, err)
	}
}

// A read-only cache can be read.
func TestReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	dir := mountTmpfs(t, "size=1m")
	before := openCache(t, Config{Dir: dir})
	digest := put(t, before, []byte("x"))
	if err := before.PutRecords(t.Context(), []sdk.Record{{Key: "kind/a", Value: []byte("v")}}); err != nil {
		t.Fatal(err)
	}
	before.mu.Lock()
	if err := before.scratch.close(before.root); err != nil { // an open file would keep the mount from changing
		t.Fatal(err)
	}
	before.scratch = nil
	before.mu.Unlock()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	c := openCache(t, Config{Dir: dir, MaxSize: 1})
	if !holds(t, c, digest) {
		t.Error("the blob is not held")
	}
	if _, err := c.GetBlob(t.Context(), digest); err != nil {
		t.Error(err)
	}
	if records, err := c.GetRecords(t.Context(), []sdk.Key{"kind/a"}); err != nil || len(records) != 1 {
		t.Errorf("GetRecords = %v, %v", records, err)
	}
	err := c.PutBlob(t.Context(), blobOf([]byte("y")), inMemory([]byte("y")))
	if err == nil || !strings.Contains(err.Error(), "use the cache for reading only") {
		t.Errorf("PutBlob: %v", err)
	}
	if _, err := c.Prune(t.Context(), PruneOptions{Scope: ScopeAll}); err == nil || !strings.Contains(err.Error(), "make") {
		t.Errorf("Prune: %v", err)
	}
}

func mountTmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		if errors.Is(err, unix.EPERM) {
			t.Skip("mounting a small file system takes root")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}
