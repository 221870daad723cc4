package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRewrite(t *testing.T) {
	t.Parallel()
	var in, out bytes.Buffer
	writer := tar.NewWriter(&in)
	when := time.Date(2020, 1, 2, 3, 4, 5, 600, time.UTC)
	for _, header := range []*tar.Header{
		{Name: "./", Typeflag: tar.TypeDir},
		{Name: "./dev/", Typeflag: tar.TypeDir},
		{Name: "./dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
		{Name: "./device", Typeflag: tar.TypeReg, Size: 4},
		{Name: "./link", Typeflag: tar.TypeLink, Linkname: "./device"},
		{Name: "./symlink", Typeflag: tar.TypeSymlink, Linkname: "./device"},
	} {
		header.ModTime, header.Uname, header.Format = when, "root", tar.FormatPAX
		header.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "x"}
		if err := writer.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(writer, strings.Repeat("x", int(header.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(writer.Close(), rewrite(&in, &out)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for reader := tar.NewReader(&out); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		if !header.ModTime.Equal(when.Truncate(time.Second)) || header.Uname != "" || header.PAXRecords["SCHILY.xattr.security.capability"] != "x" {
			t.Errorf("%q has the time %v, the owner %q and the records %v", header.Name, header.ModTime, header.Uname, header.PAXRecords)
		}
		got = append(got, strings.Join([]string{header.Name, header.Linkname, string(text)}, " "))
	}
	want := []string{"dev/  ", "device  xxxx", "link device ", "symlink ./device "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

// testLab is a lab without what needs root.
func testLab(t *testing.T) *Lab {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "logs"), 0o755); err != nil {
		t.Fatal(err)
	}
	return &Lab{dir: dir, run: dir, log: io.Discard}
}

func TestDaemonThatEnds(t *testing.T) {
	t.Parallel()
	l := testLab(t)
	notYet := func(context.Context) error { return errors.New("not yet") }
	err := l.start(t.Context(), "broken", notYet, exec.Command("sh", "-c", "echo no such port >&2; exit 1"))
	if err == nil || !strings.Contains(err.Error(), "no such port") || !strings.Contains(err.Error(), "broken") {
		t.Errorf("error %v, want the daemon's name and last words", err)
	}
	if err := l.daemons[0].stop(); err != nil {
		t.Error(err)
	}
}

func TestDaemonStops(t *testing.T) {
	t.Parallel()
	l := testLab(t)
	ready := filepath.Join(l.dir, "ready")
	awaited := func(context.Context) error {
		_, err := os.Stat(ready)
		return err
	}
	cmd := exec.Command("sh", "-c", `trap 'rm "$0"; exit' TERM; touch "$0"; while :; do sleep 0.05; done`, ready)
	if err := l.start(t.Context(), "willing", awaited, cmd); err != nil {
		t.Fatal(err)
	}
	if err := l.daemons[0].stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(ready); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the daemon was not asked to end: %v", err)
	}
}

func TestOutputError(t *testing.T) {
	t.Parallel()
	_, err := output(exec.CommandContext(t.Context(), "sh", "-c", "echo out; echo reason >&2; exit 4"))
	if err == nil || !strings.Contains(err.Error(), "out\nreason") || !strings.Contains(err.Error(), "exit status 4") {
		t.Errorf("error %v, want what the program wrote", err)
	}
}
