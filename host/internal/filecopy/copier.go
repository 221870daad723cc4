package filecopy

import (
	"fmt"

	"github.com/moby/patternmatcher"

	"github.com/trowel-build/trowel/host/internal/filecopy/pattern"
	"github.com/trowel-build/trowel/host/internal/filetree"
)

// copier copies one match.
type copier struct {
	*planner
	include *patternmatcher.PatternMatcher // nil copies everything
	pattern string                         // include's one
	// files are the files of the match with several names, and the groups of those that were copied.
	files map[any]int
	// above are the directories from the match to where the copier is.
	above []directory
}

// directory is a source directory that is copied, or will be once something in it is.
type directory struct {
	item
	copied bool
}

// item is one file of the source and where it goes.
type item struct {
	node *filetree.Node
	from string // in its tree
	rel  string // below the match; "" for the match itself
	to   string
}

// prepare finds the hardlinks of the match, which stay such, and reads the pattern.
func (c *copier) prepare(tree *filetree.Tree, m match, include *string) error {
	if include != nil {
		var err error
		if c.include, err = patternmatcher.New([]string{*include}); err != nil {
			return err
		}
		c.pattern = *include
	}
	if !m.node.IsDir() {
		return nil
	}
	return tree.Walk(m.path, func(p string, n *filetree.Node) (bool, error) {
		if n.Type() == filetree.Regular {
			// Of the names of one file, all but one at most are not that by which its source knows it.
			if _, ref := n.Source(p); ref.Path != p {
				c.files[n.FileID()] = 0
			}
		}
		return true, nil
	})
}

// copy copies a file, or a directory with its content. The infos are what the matchers made of its parent.
func (c *copier) copy(x item, inc, exc patternmatcher.MatchInfo) error {
	included, excluded := true, false
	if x.rel != "" {
		var err error
		if c.include != nil {
			if included, inc, err = c.include.MatchesUsingParentResults(x.rel, inc); err != nil {
				return fmt.Errorf("match %q: %w", x.from, err)
			}
		}
		if c.exclude != nil {
			if excluded, exc, err = c.exclude.MatchesUsingParentResults(x.rel, exc); err != nil {
				return fmt.Errorf("match %q: %w", x.from, err)
			}
		}
		included = included && !excluded
	}
	if !x.node.IsDir() {
		if !included {
			return nil
		}
		return c.file(x)
	}
	if included {
		if err := c.directory(x); err != nil {
			return err
		}
	} else if !c.mayHold(x.rel, excluded) {
		return nil
	}
	c.above = append(c.above, directory{item: x, copied: included})
	for child := range x.node.Children() {
		name := child.Name()
		below := item{node: child, from: filetree.Join(x.from, name), rel: filetree.Join(x.rel, name), to: filetree.Join(x.to, name)}
		if err := c.copy(below, inc, exc); err != nil {
			return err
		}
	}
	c.above = c.above[:len(c.above)-1]
	return nil
}

// mayHold says whether something below a directory that is not copied itself may be.
func (c *copier) mayHold(rel string, excluded bool) bool {
	if excluded && !c.exclude.Exclusions() {
		return false
	}
	if c.include == nil {
		return true
	}
	return pattern.Reaches(c.pattern, rel)
}

// file copies what is no directory.
func (c *copier) file(x item) error {
	if err := c.makeAbove(); err != nil {
		return err
	}
	if there, ok := c.lookup(x.to); ok && there.Type == filetree.Directory {
		return fmt.Errorf("%q is a directory and cannot be replaced by the file %q", "/"+x.to, x.from)
	}
	s := stroke{Change: filetree.Change{Entry: c.entry(x)}}
	if s.Type == filetree.Regular {
		s.Source, s.From = x.node.Source(x.from)
		id := x.node.FileID()
		if group, linked := c.files[id]; linked {
			if group == 0 {
				c.groups++
				group = c.groups
				c.files[id] = group
			}
			s.group = group
		}
	}
	return c.put(s)
}

// directory copies a directory without its content.
func (c *copier) directory(x item) error {
	if err := c.makeAbove(); err != nil {
		return err
	}
	there, exists := c.lookup(x.to)
	if exists && there.Type != filetree.Directory {
		return fmt.Errorf("cannot copy the directory %q to %q: it is a %s", shown(x.from), "/"+x.to, there.Type)
	}
	if x.rel != "" {
		return c.put(stroke{Change: filetree.Change{Entry: c.entry(x)}})
	}
	// The destination itself, which exists by now, takes nothing but the time.
	there.ModTime = x.node.Entry(x.from).ModTime
	return c.put(stroke{Change: filetree.Change{Entry: there}})
}

// makeAbove makes the directories above something that is copied which no pattern selected themselves. Those that exist
// keep their owner, though not their mode.
func (c *copier) makeAbove() error {
	for i := range c.above {
		d := &c.above[i]
		if d.copied {
			continue
		}
		d.copied = true
		e := c.entry(d.item)
		if there, exists := c.lookup(d.to); exists {
			if there.Type != filetree.Directory {
				return fmt.Errorf("cannot copy the directory %q to %q: it is a %s", shown(d.from), "/"+d.to, there.Type)
			}
			e = there
			e.Mode = d.node.Mode()
		}
		if err := c.put(stroke{Change: filetree.Change{Entry: e}}); err != nil {
			return err
		}
	}
	return nil
}

// entry is a source's entry as it will be at the destination.
func (c *copier) entry(x item) filetree.Entry {
	e := x.node.Entry(x.from)
	e.Path, e.Offset = x.to, 0
	if o := c.spec.Owner; o != nil {
		e.UID, e.GID = o.UID, o.GID
	}
	e.Mode = c.spec.Mode.of(e.Mode, e.Type)
	return e
}

func shown(p string) string {
	if p == "" {
		return "/"
	}
	return p
}
