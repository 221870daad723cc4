package secret

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGet(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte("of-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TROWEL_TEST_SECRET", "of-env")
	s, err := NewStore(map[string]Source{
		"file": {File: file}, "env": {Env: "TROWEL_TEST_SECRET"}, "unset": {Env: "TROWEL_TEST_NO_SUCH"}, "value": {Value: []byte("of-value")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{"file": "of-file\n", "env": "of-env", "unset": "", "value": "of-value"} {
		if got, err := s.Get(t.Context(), id); err != nil || string(got) != want {
			t.Errorf("Get(%s) = %q, %v, want %q", id, got, err, want)
		}
	}
	if err := os.WriteFile(file, []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.Get(t.Context(), "file"); string(got) != "of-file\n" {
		t.Errorf("the value changed within a build: %q", got)
	}
	for _, s := range []*Store{s, nil} {
		_, err := s.Get(t.Context(), "missing")
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("Get(missing): %v, want ErrNotFound", err)
		}
		if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Hint(), "--secret id=missing") {
			t.Errorf("Get(missing) has no hint: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Get(ctx, "value"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get of a cancelled build: %v", err)
	}
}

func TestNewStoreRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, MaxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		id     string
		source Source
		want   string
	}{
		"no ID":        {"", Source{Env: "X"}, "ID"},
		"two sources":  {"x", Source{Env: "X", File: large}, "more than one source"},
		"missing file": {"x", Source{File: filepath.Join(dir, "missing")}, "no such file"},
		"directory":    {"x", Source{File: dir}, "directory"},
		"large file":   {"x", Source{File: large}, "512000"},
		"large value":  {"x", Source{Value: make([]byte, MaxSize+1)}, "512000"},
	} {
		_, err := NewStore(map[string]Source{tt.id: tt.source})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, tt.want)
		}
	}
}

// TestLargeStream reads more than a file's size says, as a pipe gives.
func TestLargeStream(t *testing.T) {
	t.Parallel()
	s, err := NewStore(map[string]Source{"zero": {File: "/dev/zero"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "zero"); err == nil || !strings.Contains(err.Error(), "512000") {
		t.Errorf("Get of an endless file: %v", err)
	}
}

func TestNotShown(t *testing.T) {
	t.Parallel()
	s := Source{Value: []byte("hunter2")}
	text, err := json.Marshal(map[string]Source{"x": s})
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %s %q %x %v", s, s, s, &s, s, s, map[string]Source{"x": s}) + string(text)
	for _, leak := range []string{"hunter2", "68756e74", "104 117"} {
		if strings.Contains(shown, leak) {
			t.Errorf("a secret shows: %s", shown)
		}
	}
}
