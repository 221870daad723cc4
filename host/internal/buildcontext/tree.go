package buildcontext

import (
	"context"
	"crypto/sha256"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Tree indexes what COPY and ADD want of the context: the paths and patterns of their sources, as written. Nothing else is
// looked at, so one call for all instructions of a build is the cheapest. Symlinks that are named are followed inside the
// context. What does not exist or is ignored is not in the tree; see [Context.Missing].
//
// The tree's files are opened through the context, which must stay open.
func (c *Context) Tree(ctx context.Context, wanted []string) (*filetree.Tree, error) {
	defer c.still()()
	var root fileStat
	st, err := c.root.lstat("")
	if err != nil {
		return nil, fmt.Errorf("stat the build context %q: %w", c.dir, err)
	}
	root.set(st)
	b := builder{editor: filetree.Empty().Edit(), source: &files{owner: c}, first: map[fileID]string{}}
	if err := b.put("", found{stat: root}); err != nil {
		return nil, err
	}
	if len(wanted) == 0 {
		return b.editor.Tree(), nil
	}
	all, err := c.walk(ctx, wanted)
	if err != nil {
		return nil, err
	}
	if err := b.add("", all); err != nil {
		return nil, err
	}
	return b.editor.Tree(), nil
}

// builder makes a tree of listings.
type builder struct {
	editor *filetree.Editor
	source *files
	first  map[fileID]string // of a file with several names, the one that came first
}

func (b *builder) add(dir string, l *listing) error {
	for _, f := range l.entries {
		p := filetree.Join(dir, f.name)
		if err := b.put(p, f); err != nil {
			return err
		}
		if f.below != nil {
			if err := b.add(p, f.below); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *builder) put(p string, f found) error {
	s := &f.stat
	e := filetree.Entry{Path: p, Type: s.typ, Mode: s.mode, Size: s.size, ModTime: s.modTime, Link: f.link}
	switch s.typ {
	case filetree.CharDevice, filetree.BlockDevice:
		e.Major, e.Minor = unix.Major(s.rdev), unix.Minor(s.rdev)
	case filetree.Regular:
		if f.caps != "" {
			e.Xattrs = map[string]string{capabilityXattr: f.caps}
		}
		if s.linked {
			if first, ok := b.first[s.id]; ok {
				return b.editor.Put(filetree.Entry{Path: p, Type: filetree.Hardlink, Link: first}, nil, filetree.Ref{})
			}
			b.first[s.id] = p
		}
		if s.size == 0 {
			e.Digest = sha256.Sum256(nil)
			break
		}
		return b.editor.Put(e, b.source, b.source.ref(p, s))
	}
	return b.editor.Put(e, nil, filetree.Ref{Path: p})
}
