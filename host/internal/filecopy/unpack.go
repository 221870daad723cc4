package filecopy

import (
	"fmt"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// unpack lays an archive on the destination, which is a directory then, as tar would that was confined to it: directories
// merge, all else replaces what is there, and symlinks of the destination or of the archive itself are followed, absolute
// ones from the destination. Owners come from the archive unless the instruction names one; its mode does not count.
func (p *planner) unpack(a *Archive) error {
	root, err := p.resolve("", filetree.Clean(p.spec.Dest))
	if err == nil {
		err = p.mkdirAll(root, maker{perm: 0o755, owner: p.spec.Owner})
	}
	if err != nil {
		return err
	}
	var later []filetree.Change // hardlinks to names that were not there yet
	for _, x := range a.entries {
		done, err := p.extract(root, x)
		if err != nil {
			return fmt.Errorf("%q: %w", x.Path, err)
		}
		if !done {
			later = append(later, x)
		}
	}
	// Each round may make the names that the next one needs.
	for rest := later; len(rest) > 0; rest = later {
		later = nil
		for _, x := range rest {
			done, err := p.extract(root, x)
			if err != nil {
				return fmt.Errorf("%q: %w", x.Path, err)
			}
			if !done {
				later = append(later, x)
			}
		}
		if len(later) == len(rest) {
			return fmt.Errorf("%q is a hardlink to %q, which is neither in the archive nor there already", rest[0].Path, rest[0].Link)
		}
	}
	return nil
}

// extract lays one entry on the destination. It reports false for a hardlink to what does not exist.
func (p *planner) extract(root string, x filetree.Change) (bool, error) {
	if x.Path == "" {
		return true, nil // "./" must not change the destination
	}
	at, err := p.locate(root, x.Path)
	if err != nil {
		return false, err
	}
	if o := p.spec.Owner; o != nil {
		x.UID, x.GID = o.UID, o.GID
	}
	if x.Type == filetree.Hardlink {
		return p.link(root, at, x)
	}
	there, exists := p.lookup(at)
	if exists && (there.Type != filetree.Directory || x.Type != filetree.Directory) {
		p.remove(at)
	}
	x.Path, x.Offset = at, 0
	return true, p.put(stroke{Change: x})
}

// locate makes the directory that a path below root is in and returns where the path leads.
func (p *planner) locate(root, path string) (string, error) {
	dir, err := p.resolve(root, filetree.Parent(path))
	if err == nil {
		err = p.mkdirAll(dir, maker{perm: 0o755, owner: &Owner{}}) // root's, whoever else owns the rest
	}
	if err != nil {
		return "", err
	}
	return filetree.Join(dir, filetree.Base(path)), nil
}

// link makes at another name of the file that x.Link names below root.
func (p *planner) link(root, at string, x filetree.Change) (bool, error) {
	dir, err := p.resolve(root, filetree.Parent(x.Link))
	if err != nil {
		return false, err
	}
	target := filetree.Join(dir, filetree.Base(x.Link))
	e, exists := p.lookup(target)
	switch {
	case !exists:
		return false, nil
	case e.Type == filetree.Directory:
		return false, fmt.Errorf("is a hardlink to the directory %q", x.Link)
	case target == at:
		return true, nil
	}
	i, ok := p.index[target]
	if !ok {
		// A file that was there before. Both names have to be in one layer to be one file.
		s := stroke{Change: filetree.Change{Entry: e}}
		if e.Type == filetree.Regular {
			s.Source, s.From = p.below(target).Source(target)
		}
		s.Offset = 0
		if err := p.put(s); err != nil {
			return false, err
		}
		i = p.index[target]
	}
	if e.Type == filetree.Regular && p.strokes[i].group == 0 {
		p.groups++
		p.strokes[i].group = p.groups
	}
	if _, exists := p.lookup(at); exists {
		p.remove(at)
	}
	// As BuildKit: what the hardlink's header says of the file counts for all of its names.
	file := &p.strokes[i]
	file.UID, file.GID = x.UID, x.GID
	if e.Type != filetree.Symlink {
		file.Mode, file.ModTime = x.Mode, x.ModTime
	}
	if file.group != 0 {
		p.said[file.group] = file.Entry
	}
	name := *file
	name.Path = at
	return true, p.put(name)
}
