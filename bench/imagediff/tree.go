package imagediff

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// The names that delete; see the OCI image specification, layer.md.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// tree is a file tree to which layers are applied. Paths that are hard links share an inode.
type tree map[string]*inode

func newTree() tree {
	return tree{"/": {entry: Entry{Type: "directory", Mode: "0755"}}}
}

// apply puts a layer on the tree and returns what was wrong with it. What a layer deletes is of the layers below,
// wherever in the archive it says so.
func (t tree) apply(l *layer) (faults []string) {
	for _, m := range l.members {
		dir, base := path.Split(m.path)
		if base == opaque {
			t.removeBelow(path.Clean(dir))
		} else if hidden, ok := strings.CutPrefix(base, whiteout); ok {
			target := path.Join(dir, hidden)
			if t[target] == nil {
				faults = append(faults, fmt.Sprintf("%q deletes what is not there", m.name))
			}
			t.remove(target)
		}
	}
	for _, m := range l.members {
		if strings.HasPrefix(path.Base(m.path), whiteout) {
			continue
		}
		if parent := t[path.Dir(m.path)]; parent == nil {
			faults = append(faults, fmt.Sprintf("%q has no directory", m.name))
		} else if parent.entry.Type != "directory" {
			faults = append(faults, fmt.Sprintf("%q is in a %s", m.name, parent.entry.Type))
		}
		node := &inode{entry: m.entry}
		if m.hardlink != "" {
			if node = t[m.hardlink]; node == nil {
				faults = append(faults, fmt.Sprintf("%q is a hard link to %q, which is nowhere", m.name, m.hardlink))
				continue
			}
		}
		if old := t[m.path]; old != nil && old.entry.Type == "directory" && node.entry.Type != "directory" {
			t.removeBelow(m.path)
		}
		t[m.path] = node
	}
	return faults
}

func (t tree) remove(target string) {
	t.removeBelow(target)
	delete(t, target)
}

func (t tree) removeBelow(target string) {
	if node := t[target]; node == nil || node.entry.Type != "directory" {
		return
	}
	prefix := strings.TrimSuffix(target, "/") + "/"
	maps.DeleteFunc(t, func(name string, _ *inode) bool { return name != "/" && strings.HasPrefix(name, prefix) })
}

// entries returns the tree with the groups of hard links told by path.
func (t tree) entries() map[string]Entry {
	names := map[*inode][]string{}
	for name, node := range t {
		names[node] = append(names[node], name)
	}
	entries := make(map[string]Entry, len(t))
	for name, node := range t {
		e := node.entry
		if group := names[node]; len(group) > 1 {
			slices.Sort(group)
			e.Links = slices.DeleteFunc(slices.Clone(group), func(other string) bool { return other == name })
		}
		entries[name] = e
	}
	return entries
}
