package executor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// usual are the programs by which a job starts the next build, which puts the container in order if the builder and its
// supervisor were killed: they stay where they are. An image that is being built and has files of these names comes first.
func usual() []string { return []string{"kaniko/executor", "kaniko/warmer"} }

// newJournal decides what stays where it is while a plain directory is swapped into a root directory.
func newJournal(root, own string, mounts []mountPoint, r Plain) *journal {
	j := &journal{Stage: r.Dir}
	j.addSpine("")
	for _, m := range mounts {
		if where, ok := within(root, m.Path); ok && where != "" {
			j.Mounts = append(j.Mounts, where)
		}
	}
	slices.Sort(j.Mounts)
	j.Mounts = slices.Compact(j.Mounts)
	for _, file := range []string{"etc/resolv.conf", "etc/hosts", "etc/hostname"} {
		if slices.Contains(j.Mounts, file) {
			j.keep(file, pinKernel)
		}
	}
	for _, path := range append([]string{own, filepath.Dir(r.Dir), filepath.Dir(r.Aside)}, r.Keep...) {
		path, err := filepath.EvalSymlinks(path)
		if err != nil {
			continue // there is nothing to keep
		}
		if where, ok := within(root, path); ok && where != "" {
			j.keepOwn(where)
		}
	}
	for _, where := range usual() {
		_, err := os.Lstat(filepath.Join(root, where))
		if _, stageErr := os.Lstat(filepath.Join(r.Dir, where)); err == nil && os.IsNotExist(stageErr) {
			j.keepOwn(where)
		}
	}
	for _, s := range slices.Clone(j.Spines) {
		j.pinMountsIn(s.Path)
	}
	return j
}

// keepOwn keeps something of the builder's. Below a mount it is the mount that is kept.
func (j *journal) keepOwn(where string) {
	at, kind := where, pinOwn
	if slices.Contains(j.Mounts, where) {
		kind = pinMount
	}
	for above := range ancestors(where) {
		if slices.Contains(j.Mounts, above) {
			at, kind = above, kindOf(above)
		}
	}
	j.keep(at, kind)
}

// within makes a path relative to a root directory that it lies in.
func within(root, path string) (string, bool) {
	if root == "/" {
		return strings.TrimPrefix(path, "/"), true
	}
	if path == root {
		return "", true
	}
	return strings.CutPrefix(path, root+"/")
}
