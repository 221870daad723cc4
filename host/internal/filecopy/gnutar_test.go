package filecopy

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestArchiveLimits(t *testing.T) {
	t.Parallel()
	zeros := tarOf(t, "f x =hello\nf z ="+strings.Repeat("z", 2<<20))
	for name, content := range map[string]string{
		"gzip": gzipped(t, zeros),
		"sparse": func() string {
			// A file of a TiB of which a block is there.
			return string(gnuSparse(t, 1<<40))
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := add(t, "", "a /t/", map[string]string{"a": content}, ArchiveOptions{MaxSize: 1 << 20})
			if !errors.Is(err, errTooLarge) || !strings.Contains(err.Error(), `unpack "a"`) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// gnuSparse is an archive of one sparse file in GNU's old format.
func gnuSparse(t testing.TB, size int64) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "s"), []byte("start"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "s"), size); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("tar", "-C", dir, "--format=gnu", "--sparse", "-cf", "-", "s").Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestGNUTar unpacks what GNU tar makes of files that need its extensions.
func TestGNUTar(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	long := strings.Repeat("long/", 40) + strings.Repeat("n", 200)
	sparse := "start" + strings.Repeat("\x00", 1<<20) + "end"
	for name, content := range map[string]string{long: "long", "sparse": sparse, "second": "x", "späte": "utf8"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Make the hole a hole.
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for at, s := range map[int64]string{0: "start", int64(len(sparse)) - 3: "end"} {
		if _, err := f.WriteAt([]byte(s), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, format := range [][]string{
		{"--format=gnu", "--sparse"},
		{"--format=gnu"},
		{"--format=pax", "--sparse"},
		{"--format=pax", "--sparse", "--sparse-version=0.1"},
		{"--format=pax", "--sparse", "--sparse-version=0.0"},
		{"--format=pax"},
		{"--format=gnu", "--label=volume"},
	} {
		t.Run(strings.Join(format, " "), func(t *testing.T) {
			t.Parallel()
			out, err := exec.Command("tar", append(format, "-C", dir, "--sort=name", "-cf", "-", ".")...).Output()
			if err != nil {
				t.Fatal(err)
			}
			for _, content := range []string{string(out), gzipped(t, out)} {
				got, err := add(t, "", "a /t/", map[string]string{"a": content}, ArchiveOptions{})
				if err != nil {
					t.Fatal(err)
				}
				for _, want := range []string{"/" + long, "=long\n", "=" + sparse + "\n", "f t/second ", "=x\n", "f t/späte ", "=utf8\n"} {
					if !strings.Contains(got, want) {
						t.Errorf("%.40q is missing", want)
					}
				}
			}
		})
	}
}
