package output

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// describe lists a directory: type and mode, owner, path, content or target.
func describe(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d %q", st.Nlink, content)
		case info.Mode()&os.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " " + to
		case info.Mode()&os.ModeDevice != 0:
			text += fmt.Sprintf(" %d.%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		rel, err := filepath.Rel(dir, path)
		out[rel] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wantTree() map[string]string {
	u := fmt.Sprint(os.Geteuid(), ":", 0)
	return map[string]string{
		"bin": "40755 " + u, "bin/tool": "104755 " + u + ` 2 "#!/bin/sh\n"`, "bin/again": "104755 " + u + ` 2 "#!/bin/sh\n"`,
		"dev": "40555 " + u, "dev/null": "20666 " + u + " 1.3", "dev/pipe": "10600 " + u,
		"etc": "41777 " + u, "etc/passwd": `100640 1234:5678 1 "root\n"`, "etc/empty": "100600 " + u + ` 1 ""`,
		"etc/escape": "100644 " + u + ` 1 "from the image\n"`, "lib": "120777 " + u + " /etc", "up": "120777 " + u + " ../../../..",
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("giving files away and making devices takes root; TestDirectoryAsUser shows the rest")
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dest := filepath.Join(t.TempDir(), "deep/out")
	for range 2 { // the second time onto what the first left
		var notes []string
		r := Request{Trees: []PlatformTree{{"linux/amd64", testTree(t)}}, Note: func(s string) { notes = append(notes, s) }}
		if err := Write(t.Context(), Spec{Type: TypeLocal, Dest: dest}, r); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wantTree(), describe(t, dest)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		if len(notes) > 0 {
			t.Errorf("notes: %q", notes)
		}
	}
	for _, p := range []string{"bin", "bin/tool", "lib", "dev/pipe"} {
		info, err := os.Lstat(filepath.Join(dest, p))
		if err != nil || info.ModTime().UnixNano() != 1_000_000_000*second+500 {
			t.Errorf("%s has time %v, error %v", p, info.ModTime(), err)
		}
	}
	if n, err := unix.Getxattr(filepath.Join(dest, "bin/tool"), "security.capability", make([]byte, 64)); n != 20 || err != nil {
		t.Errorf("the capability has %d bytes, error %v", n, err)
	}
}

// What is in the way is replaced, what is not of the image stays or goes, and nothing outside is touched.
func TestDirectoryOverExisting(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, mode := range []Existing{"", ExistingKeep, ExistingDelete} {
		t.Run("mode "+string(mode), func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			dest, outside := filepath.Join(top, "dest"), filepath.Join(top, "outside")
			if err := errors.Join(
				os.MkdirAll(outside, 0o700), os.WriteFile(filepath.Join(outside, "escape"), []byte("mine"), 0o600), os.Mkdir(dest, 0o700),
				os.Symlink(outside, filepath.Join(dest, "etc")),                                   // a directory in the image
				os.MkdirAll(filepath.Join(dest, "bin"), 0o700),                                    //
				os.Symlink(filepath.Join(outside, "escape"), filepath.Join(dest, "bin/tool")),     // a file in the image
				os.MkdirAll(filepath.Join(dest, "lib/full/of/things"), 0o700),                     // a symlink in the image
				os.WriteFile(filepath.Join(dest, "dev"), []byte("a file"), 0o600),                 // a directory in the image
				os.WriteFile(filepath.Join(dest, "other"), []byte("stays"), 0o600),                //
				os.Symlink(outside, filepath.Join(dest, "outward")),                               //
				os.MkdirAll(filepath.Join(dest, "bin/more/things"), 0o700),                        //
				os.WriteFile(filepath.Join(dest, "bin/more/things/file"), []byte("stays"), 0o600), //
			); err != nil {
				t.Fatal(err)
			}
			if err := Write(t.Context(), Spec{Type: TypeLocal, Dest: dest, Existing: mode}, Request{Trees: []PlatformTree{{"linux/amd64", testTree(t)}}}); err != nil {
				t.Fatal(err)
			}
			want := wantTree()
			if mode != ExistingDelete {
				want["other"], want["outward"] = `100600 0:0 1 "stays"`, "120777 0:0 "+outside
				want["bin/more"], want["bin/more/things"], want["bin/more/things/file"] = "40700 0:0", "40700 0:0", `100600 0:0 1 "stays"`
			}
			if diff := cmp.Diff(want, describe(t, dest)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]string{"escape": `100600 0:0 1 "mine"`}, describe(t, outside)); diff != "" {
				t.Errorf("files outside (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDirectoryOfImageDirectory(t *testing.T) {
	t.Parallel()
	dest := t.TempDir()
	if err := Write(t.Context(), Spec{Type: TypeLocal, Dest: dest, Source: "/bin"}, Request{Trees: []PlatformTree{{"linux/amd64", testTree(t)}}}); err != nil {
		t.Fatal(err)
	}
	got := describe(t, dest)
	if len(got) != 2 || !strings.Contains(got["tool"], ` 2 "#!`) {
		t.Errorf("files %v", got)
	}
	err := Write(t.Context(), Spec{Type: TypeLocal, Dest: "/"}, Request{Trees: []PlatformTree{{"linux/amd64", testTree(t)}}})
	if err == nil || !strings.Contains(err.Error(), "name another one") {
		t.Errorf(`dest "/": error %v`, err)
	}
}

// A file whose content is not what the tree says is an error, and leaves the old file.
func TestDirectoryContentFails(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"short": "x", "long": "xxx"} {
		dest := t.TempDir()
		if err := os.WriteFile(filepath.Join(dest, "f"), []byte("before"), 0o600); err != nil {
			t.Fatal(err)
		}
		tree, err := filetree.Empty().Apply([]filetree.Entry{{Path: "f", Type: filetree.Regular, Size: 2}}, &contents{map[string]string{"f": content}})
		if err != nil {
			t.Fatal(err)
		}
		if err := Write(t.Context(), Spec{Type: TypeLocal, Dest: dest}, Request{Trees: []PlatformTree{{"linux/amd64", tree}}}); err == nil || !strings.Contains(err.Error(), `read "f"`) {
			t.Errorf("%s: error %v", name, err)
		}
		if got := describe(t, dest); len(got) != 1 || !strings.Contains(got["f"], "before") {
			t.Errorf("%s: files %v", name, got)
		}
	}
}

// asUserEnv makes the test binary write the tree to the directory it names.
const asUserEnv = "TROWEL_TEST_OUTPUT_AS_USER"

func TestDirectoryAsUser(t *testing.T) {
	t.Parallel()
	if dest := os.Getenv(asUserEnv); dest != "" {
		r := Request{Trees: []PlatformTree{{"linux/amd64", testTree(t)}}, Note: func(s string) { fmt.Println("note:", s) }}
		if err := Write(t.Context(), Spec{Type: TypeLocal, Dest: dest}, r); err != nil {
			t.Fatal(err)
		}
		return
	}
	needRoot(t)
	dest := t.TempDir()
	if err := errors.Join(os.Chmod(filepath.Dir(dest), 0o755), os.Chown(dest, 4321, 4321)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		out := runAsUser(t, dest)
		for _, want := range []string{"1 devices were left out", "files belong to uid 4321", "lost their capabilities"} {
			if !strings.Contains(out, want) {
				t.Errorf("no note says %q: %s", want, out)
			}
		}
		want := map[string]string{}
		for p, text := range wantTree() {
			fields := strings.SplitN(text, " ", 3)
			fields[1] = "4321:4321"
			want[p] = strings.Join(fields, " ")
		}
		delete(want, "dev/null")
		if diff := cmp.Diff(want, describe(t, dest)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
}

// runAsUser runs the calling test again as another user.
func runAsUser(t *testing.T, dest string) string {
	t.Helper()
	content, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "test") // where others may execute it, which the one that runs need not be
	if err := os.WriteFile(binary, content, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = dest
	cmd.Env = append(os.Environ(), asUserEnv+"="+dest)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4321, Gid: 4321}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}
