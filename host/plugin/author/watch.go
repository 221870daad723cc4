package author

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Watch waits until a source of a project is not as it was, and quiet again. The first call remembers; its result is that
// nothing changed yet.
type Watch struct {
	project *Project
	seen    map[string]stamp
}

// stamp is what changes when a file does.
type stamp struct {
	size int64
	mod  time.Time
}

// NewWatch remembers how the sources of a project are.
func NewWatch(p *Project) (*Watch, error) {
	w := &Watch{project: p}
	var err error
	w.seen, err = w.look()
	return w, err
}

// poll is how often the sources are looked at. There are few, and this works on every file system, as notifications do not.
const poll = 200 * time.Millisecond

// Wait returns the name of a file that changed.
func (w *Watch) Wait(ctx context.Context) (string, error) {
	changed := ""
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-tick.C:
		}
		now, err := w.look()
		if err != nil {
			return "", err
		}
		name := difference(w.seen, now)
		w.seen = now
		switch {
		case name != "":
			changed = name
		case changed != "": // and nothing since: an editor has written all it has
			return changed, nil
		}
	}
}

func difference(before, after map[string]stamp) string {
	for name, s := range after {
		if before[name] != s {
			return name
		}
	}
	for name := range before {
		if _, still := after[name]; !still {
			return name
		}
	}
	return ""
}

// look lists the sources: all files but what is made of them, what tools keep, and hidden ones.
func (w *Watch) look() (map[string]stamp, error) {
	const most = 20_000
	seen := map[string]stamp{}
	made := map[string]bool{w.project.Artifact(Wasm): true, w.project.Artifact(Native): true}
	err := filepath.WalkDir(w.project.Dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // gone since it was listed
		}
		if err != nil {
			return err
		}
		base := filepath.Base(name)
		hidden := strings.HasPrefix(base, ".") && name != w.project.Dir
		if d.IsDir() {
			if hidden || base == "node_modules" || base == "target" || base == "trowel-sdk" {
				return fs.SkipDir
			}
			return nil
		}
		if hidden || made[name] || !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if seen[name] = (stamp{info.Size(), info.ModTime()}); len(seen) > most {
			return fmt.Errorf("watch %q: it has more than %d files", w.project.Dir, most)
		}
		return nil
	})
	return seen, err
}
