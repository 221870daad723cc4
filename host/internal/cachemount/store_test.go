package cachemount

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/internal/effect"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func request(key string, sharing effect.Sharing) Request {
	return Request{Key: key, Sharing: sharing, ID: "/" + key, Fill: func(string) error { return nil }}
}

func acquire(t *testing.T, s *Store, r Request) *Instance {
	t.Helper()
	in, err := s.Acquire(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func release(t *testing.T, in *Instance) {
	t.Helper()
	if err := in.Release(); err != nil {
		t.Fatal(err)
	}
}

// TestSharing takes a cache twice, by two stores as two processes would have them. It is not parallel: a process that another
// test starts holds every lock of this one until it has become another program.
func TestSharing(t *testing.T) {
	for _, tt := range []struct {
		first, second effect.Sharing
		same          bool
	}{
		{effect.SharingShared, effect.SharingShared, true},
		{effect.SharingPrivate, effect.SharingPrivate, false},
		{effect.SharingShared, effect.SharingPrivate, false},
		{effect.SharingPrivate, effect.SharingShared, false},
		{effect.SharingLocked, effect.SharingShared, false},
	} {
		dir := filepath.Join(t.TempDir(), "mounts")
		a, b := open(t, dir), open(t, dir)
		first := acquire(t, a, request("aa", tt.first))
		second := acquire(t, b, request("aa", tt.second))
		if same := first.Path() == second.Path(); same != tt.same {
			t.Errorf("%s, then %s: the same instance is %v, want %v", tt.first, tt.second, same, tt.same)
		}
		release(t, first)
		release(t, second)
		again := acquire(t, b, request("aa", tt.second))
		if again.Path() != first.Path() {
			t.Errorf("%s, then %s: afterwards it is %q, want the first instance", tt.first, tt.second, again.Path())
		}
		release(t, again)
	}
}

func TestLocked(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mounts")
	a, b := open(t, dir), open(t, dir)
	first := acquire(t, a, request("aa", effect.SharingLocked))
	ctx, cancel := context.WithTimeout(t.Context(), 3*retry)
	defer cancel()
	if in, err := b.Acquire(ctx, request("aa", effect.SharingLocked)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a locked cache was taken twice: %v, %v", in, err)
	}
	got := make(chan *Instance)
	go func() {
		in, err := b.Acquire(t.Context(), request("aa", effect.SharingLocked))
		if err != nil {
			t.Error(err)
		}
		got <- in
	}()
	release(t, first)
	second := <-got
	if second.Path() != first.Path() {
		t.Errorf("%q is not the first instance", second.Path())
	}
	release(t, second)
}

// TestFillOnce has many take a new cache at once: it is filled whole before anybody has it.
func TestFillOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mounts")
	paths := make(chan string, 8)
	for range cap(paths) {
		go func() {
			s, err := Open(dir)
			if err != nil {
				t.Error(err)
				paths <- ""
				return
			}
			r := request("aa", effect.SharingShared)
			r.Fill = func(dir string) error {
				time.Sleep(5 * time.Millisecond)
				return os.WriteFile(filepath.Join(dir, "f"), nil, 0o644)
			}
			in, err := s.Acquire(t.Context(), r)
			if err != nil {
				t.Error(err)
				paths <- ""
				return
			}
			if _, err := os.Stat(filepath.Join(in.Path(), "f")); err != nil {
				t.Error(err)
			}
			paths <- in.Path()
			if err := in.Release(); err != nil {
				t.Error(err)
			}
		}()
	}
	first := <-paths
	for range cap(paths) - 1 {
		if p := <-paths; p != first {
			t.Errorf("two instances: %q and %q", first, p)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, newName+"*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %q, %v", left, err)
	}
}

func TestFillFails(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mounts")
	r := request("aa", effect.SharingShared)
	broken := errors.New("broken")
	r.Fill = func(string) error { return broken }
	if in, err := open(t, dir).Acquire(t.Context(), r); !errors.Is(err, broken) {
		t.Errorf("Acquire: %v, %v", in, err)
	}
	if entries, err := os.ReadDir(dir); len(entries) > 0 || err != nil {
		t.Errorf("left over: %v, %v", entries, err)
	}
}

// TestPoisoned replaces the root of a cache by what leads elsewhere: nothing of it may be shown.
func TestPoisoned(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]func(data string) error{
		"link to a directory": func(data string) error { return os.Symlink("/etc", data) },
		"file":                func(data string) error { return os.WriteFile(data, nil, 0o644) },
	} {
		dir := filepath.Join(t.TempDir(), "mounts")
		s := open(t, dir)
		in := acquire(t, s, request("aa", effect.SharingShared))
		release(t, in)
		if err := errors.Join(os.Remove(in.Path()), replace(in.Path())); err != nil {
			t.Fatal(err)
		}
		again, err := s.Acquire(t.Context(), request("aa", effect.SharingShared))
		if again != nil || err == nil {
			t.Errorf("%s: Acquire gave %v", name, again)
		}
		var hint interface{ Hint() string }
		if !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "prune --all") {
			t.Errorf("%s: %v has no hint", name, err)
		}
		// What it leads to stays.
		if _, err := s.Prune(t.Context(), Limits{Scope: ScopeAll}); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat("/etc/passwd"); err != nil {
			t.Fatal(err)
		}
	}
	// An instance that is a link itself is none.
	dir := filepath.Join(t.TempDir(), "mounts")
	s := open(t, dir)
	if err := os.Symlink("/etc", filepath.Join(dir, "bb-0")); err != nil {
		t.Fatal(err)
	}
	if in, err := s.Acquire(t.Context(), request("bb", effect.SharingShared)); err == nil && in.Path() == filepath.Join(dir, "bb-0", dataName) {
		t.Error("a link was taken for an instance")
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	wide := filepath.Join(dir, "wide")
	if err := errors.Join(os.Mkdir(wide, 0o700), os.Chmod(wide, 0o755), os.Symlink(wide, link)); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{wide, link} {
		if _, err := Open(d); err == nil {
			t.Errorf("Open(%s) is fine", d)
		}
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mounts")
	s := open(t, dir)
	fill := func(size int) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, "f"), make([]byte, size), 0o644) }
	}
	old := request("aa", effect.SharingShared)
	old.Fill = fill(1 << 20)
	in := acquire(t, s, old)
	release(t, in)
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Dir(in.Path()), past, past); err != nil {
		t.Fatal(err)
	}
	used := request("bb", effect.SharingShared)
	used.Fill = fill(1 << 20)
	busy := acquire(t, s, used)

	list, err := s.List(t.Context())
	if err != nil || len(list) != 2 || list[0].ID != "/aa" || list[1].ID != "/bb" || list[0].Bytes < 1<<20 {
		t.Errorf("List: %+v, %v", list, err)
	}
	for _, tt := range []struct {
		limits Limits
		want   int
	}{
		{Limits{}, 0},
		{Limits{Keep: 1 << 30}, 0},
		{Limits{OlderThan: 2 * time.Hour}, 0},
		{Limits{Keep: 3 << 19}, 1},
		{Limits{Scope: ScopeAll}, 0}, // what is left is in use
	} {
		freed, err := s.Prune(t.Context(), tt.limits)
		if err != nil || freed.Entries != tt.want {
			t.Errorf("Prune(%+v) = %+v, %v, want %d entries", tt.limits, freed, err, tt.want)
		}
	}
	release(t, busy)
	if freed, err := s.Prune(t.Context(), Limits{Scope: ScopeAll}); err != nil || freed.Entries != 1 {
		t.Errorf("Prune of all: %+v, %v", freed, err)
	}
	if entries, err := os.ReadDir(dir); len(entries) > 0 || err != nil {
		t.Errorf("left over: %v, %v", entries, err)
	}
}

// TestLeftover opens a directory in which a process was killed while it filled a cache.
func TestLeftover(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mounts")
	s := open(t, dir)
	dead := filepath.Join(dir, newName+"dead")
	if err := os.MkdirAll(filepath.Join(dead, dataName), 0o755); err != nil {
		t.Fatal(err)
	}
	alive := filepath.Join(dir, newName+"alive")
	if err := os.Mkdir(alive, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := s.lock(newName+"alive", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	open(t, dir)
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what the dead left is there: %v", err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("what the living make is gone: %v", err)
	}
}

// TestKilled takes a lock in a process that is killed: the next one has it at once.
func TestKilled(t *testing.T) {
	t.Parallel()
	flock, err := exec.LookPath("flock")
	if err != nil {
		return // TestLocked shows the same within a process
	}
	dir := filepath.Join(t.TempDir(), "mounts")
	s := open(t, dir)
	in := acquire(t, s, request("aa", effect.SharingLocked))
	release(t, in)
	cmd := exec.CommandContext(t.Context(), flock, "--no-fork", filepath.Dir(in.Path()), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for {
		if idle, err := s.Idle("aa"); err != nil {
			t.Fatal(err)
		} else if idle == nil {
			break
		} else {
			release(t, idle)
		}
		time.Sleep(time.Millisecond)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	release(t, acquire(t, s, request("aa", effect.SharingLocked)))
}
