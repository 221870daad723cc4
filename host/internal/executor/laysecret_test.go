package executor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A secret is refused where its content would be on a disk, before anything is changed, and the error says what can be done.
func TestLaySecretNeverOnDisk(t *testing.T) {
	t.Parallel()
	w := newLayTree(t, "dev/shm/", "run/", "tmp/")
	before := looks(t, w.root)
	_, err := w.lay(t, Process{Mounts: []Mount{{Kind: MountSecret, Content: []byte("s3cret"), Target: "/run/secrets/token"}}})
	var setup *SetupError
	if !errors.As(err, &setup) || !strings.Contains(setup.Hint, "env=") || !strings.Contains(err.Error(), "/run/secrets/token") {
		t.Errorf("err = %v", err)
	}
	if diff := cmp.Diff(before, looks(t, w.root)); diff != "" {
		t.Errorf("not as before:\n%s", diff)
	}
}

// In a root file system in memory a secret is a file as asked for. When it is removed its content is nowhere, under whatever
// name.
func TestLaySecretInMemory(t *testing.T) {
	t.Parallel()
	w := &layTree{root: otherFileSystem(t), aside: otherFileSystem(t)}
	fill(t, w.root, "etc/token=image")
	before := looks(t, w.root)
	l := w.mustLay(t,
		Mount{Kind: MountSecret, Content: []byte("s3cret"), Target: "/run/secrets/a", Mode: 0o400},
		Mount{Kind: MountSecret, Content: []byte("another"), Target: "/etc/token", Mode: 0o640})
	if diff := cmp.Diff([]string{"etc/", "etc/token=another", "run/", "run/secrets/", "run/secrets/a=s3cret"}, contents(t, w.root)); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]os.FileMode{"run/secrets/a": 0o400, "etc/token": 0o640} {
		if st, err := os.Lstat(w.path(name)); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
	must(t, os.Link(w.path("etc/token"), w.path("linked")))
	must(t, os.Rename(w.path("run/secrets/a"), w.path("moved")))
	_, err := l.remove()
	must(t, err)
	after := looks(t, w.root)
	if !strings.HasSuffix(after["linked"], ` ""`) {
		t.Errorf("a hardlink of a secret: %s", after["linked"])
	}
	delete(after, "linked")
	for _, dir := range []string{".", "run"} {
		delete(before, dir)
		delete(after, dir)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("not as before:\n%s", diff)
	}
}

// Where the root directory is the builder's own, /dev/shm is seen inside: the secret is there, and its target a link.
func TestLaySecretInPlace(t *testing.T) {
	t.Parallel()
	dir := newLayTree(t, "etc/token=image")
	before, shm := looks(t, dir.root), entries(t, "/dev/shm")
	w := &layTree{root: "/", aside: dir.aside}
	target := dir.path("etc/token")
	l := w.mustLay(t, Mount{Kind: MountSecret, Content: []byte("s3cret"), Target: target, Mode: 0o400})
	content, err := os.ReadFile(target)
	if string(content) != "s3cret" {
		t.Errorf("%q, %v", content, err)
	}
	if st, err := os.Stat(target); err != nil || st.Mode() != 0o400 || st.Size() != 6 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	var fs unix.Statfs_t
	must(t, unix.Statfs(target, &fs))
	if fs.Type != unix.TMPFS_MAGIC {
		t.Errorf("it is on a file system of type %x", fs.Type)
	}
	at, err := os.Readlink(target)
	must(t, err)
	must(t, os.Rename(target, dir.path("moved")))
	_, err = l.remove()
	must(t, err)
	delete(before, "etc")
	after := looks(t, dir.root)
	delete(after, "etc")
	delete(before, ".")
	delete(after, ".")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("not as before:\n%s", diff)
	}
	if _, err := os.Lstat(filepath.Dir(at)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left in /dev/shm, where %q was: %v", at, shm, err)
	}
}

// A builder that is killed leaves no secret behind.
func TestLaySecretBuilderKilled(t *testing.T) {
	t.Parallel()
	dir := newLayTree(t, "etc/x=y")
	self, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), envHold+"=secret:"+dir.root, envInside+"="+inside)
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	at := strings.TrimSpace(line)
	text, err := os.ReadFile(at)
	if string(text) != "s3cret" {
		t.Fatalf("%q, %v", text, err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for range 100 {
		text, err = os.ReadFile(at)
		if err == nil && len(text) == 0 || errors.Is(err, os.ErrNotExist) {
			must(t, os.RemoveAll(filepath.Dir(at)))
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%s still holds %q, %v", at, text, err)
}

// holdSecret is a builder that shows a secret for ever: see TestLaySecretBuilderKilled.
func holdSecret(dir string) int {
	root, err := os.Open("/")
	if err == nil {
		var aside *os.File
		if aside, err = os.Open(filepath.Join(filepath.Dir(dir), "aside")); err == nil {
			_, err = lay(context.Background(), root, aside, Process{Mounts: []Mount{
				{Kind: MountSecret, Content: []byte("s3cret"), Target: dir + "/token"},
			}})
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	at, _ := os.Readlink(dir + "/token")
	fmt.Println(at)
	select {}
}
