package main

import (
	"encoding/json"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/bench/imagediff"
	"github.com/trowel-build/trowel/testdata/box"
	"github.com/trowel-build/trowel/testdata/dockerfiles/corpus"
)

// materialised demands that a process in the image sees the files that the image's layers say it has: COPY and its like are
// answered by an index, and only now is a directory made of them.
func (r *corpusRun) materialised(got *corpus.Golden, since time.Time) {
	if !r.permits.run || !r.permits.owners || len(got.Images) != 1 {
		return
	}
	want := got.Images[0]
	if !r.reader.FromBase(want) || want.Config["OnBuild"] != nil || want.Platform != "linux/"+goArch() {
		return // nothing can be run in it, or something else would be
	}
	at := filepath.Join(r.dir, "real")
	const text = "FROM built\nUSER 0:0\nRUN [\"/bin/manifest\"]\n"
	if err := errors.Join(os.Mkdir(at, 0o755), os.WriteFile(filepath.Join(at, "Dockerfile"), []byte(text), 0o644)); err != nil {
		r.Fatal(err)
	}
	_, log, err := r.trowel("real", "first", "", "--build-context", "built=oci-layout://"+filepath.Join(r.dir, "cold"))
	if err != nil {
		r.Fatalf("list the files in a process: %v\n%s", err, log)
	}
	seen, err := processSaw(log, since)
	if err != nil {
		r.Fatal(err)
	}
	listed := map[string]imagediff.Entry{}
	for name, e := range want.Tree {
		if !slices.ContainsFunc(box.Foreign(), func(not string) bool { return name == not || strings.HasPrefix(name, not+"/") }) {
			listed[name] = alike(name, e, since)
		}
	}
	for _, name := range r.differs.unshown {
		delete(listed, name)
		delete(seen, name)
	}
	if diff := cmp.Diff(listed, seen); diff != "" {
		r.Errorf("a process sees other files than the image has (-image +process):\n%s", diff)
	}
}

// processSaw reads what the command manifest printed.
func processSaw(log string, since time.Time) (map[string]imagediff.Entry, error) {
	seen := map[string]imagediff.Entry{}
	names := map[uint64][]string{}
	var files []box.File
	for line := range strings.Lines(log) {
		_, list, found := strings.Cut(line, `{"Path":`)
		if !found {
			continue
		}
		var f box.File
		if err := json.Unmarshal([]byte(`{"Path":`+list), &f); err != nil {
			return nil, err
		}
		files = append(files, f)
		names[f.Inode] = append(names[f.Inode], f.Path)
	}
	for _, f := range files {
		e := imagediff.Entry{
			Type: f.Type, Mode: f.Mode, UID: f.UID, GID: f.GID, Size: f.Size, Digest: f.Digest, Target: f.Target, Device: f.Device, Time: f.Time,
		}
		if f.Cap != "" {
			e.Xattrs = map[string]string{"security.capability": f.Cap}
		}
		if f.Type != "directory" && len(names[f.Inode]) > 1 {
			e.Links = slices.DeleteFunc(slices.Clone(names[f.Inode]), func(name string) bool { return name == f.Path })
		}
		seen[f.Path] = alike(f.Path, e, since)
	}
	return seen, nil
}

// alike is an entry without what a container changes, or another build of the same.
func alike(name string, e imagediff.Entry, since time.Time) imagediff.Entry {
	e.Text = ""
	if e.Type == "symlink" {
		e.Mode = "0777"
	}
	if len(e.Links) == 0 {
		e.Links = nil
	}
	if !e.Time.Before(since.Truncate(time.Second)) || slices.ContainsFunc(box.Foreign(), func(not string) bool { return path.Dir(not) == name }) {
		e.Time = corpus.FixedTime
	}
	return e
}
