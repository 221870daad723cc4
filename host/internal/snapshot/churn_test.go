package snapshot_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/rootfs/rootfstest"
)

// TestChurn finds changes while somebody makes, changes and deletes files, some of which are in the tree.
func TestChurn(t *testing.T) {
	t.Parallel()
	p := newPlain(t)
	stop, done := make(chan struct{}), make(chan error, 1)
	beside := filepath.Join(t.TempDir(), "o")
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			at := filepath.Join(p.dir, fmt.Sprintf("churn/%d/%d", i%3, i%7))
			// Of the size that it had at each moment that it is there: it has to be read, and to shrink then would be an error.
			name := filepath.Join(p.dir, "other/o")
			err := errors.Join(os.MkdirAll(at, 0o755), os.WriteFile(at+"/x", []byte(fmt.Sprint(i)), 0o644),
				os.RemoveAll(filepath.Join(p.dir, fmt.Sprintf("churn/%d", (i+1)%3))),
				os.RemoveAll(name), os.WriteFile(beside, []byte("o"), 0o644), os.Rename(beside, name),
				os.Chtimes(name, time.Unix(1_600_000_000, 0), time.Unix(1_600_000_000, 0)))
			if err != nil {
				done <- err
				return
			}
		}
	}()
	tree := p.tree
	for range 100 {
		changes, after, err := p.record.Changes(t.Context(), tree, nil, p.options())
		if err != nil {
			t.Error(err)
			break
		}
		if tree, err = tree.ApplyChanges(changes); err != nil {
			t.Fatal(err)
		}
		p.record = after
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
	// What is left when it is over is found.
	changes, _, err := p.record.Changes(t.Context(), tree, nil, p.options())
	if err != nil {
		t.Fatal(err)
	}
	if tree, err = tree.ApplyChanges(changes); err != nil {
		t.Fatal(err)
	}
	after, err := rootfstest.Dump(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(recordable(after), recordable(rootfstest.Expect(t, tree))); diff != "" {
		t.Errorf("directory (-disk +tree with changes):\n%s", diff)
	}
}
