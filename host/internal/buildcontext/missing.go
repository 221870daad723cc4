package buildcontext

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/moby/buildkit/util/suggest"

	"github.com/trowel-build/trowel/host/internal/filecopy/pattern"
	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Missing is the error for a source that the context's tree does not have, p as the instruction writes it. It looks at the
// disk to say why: an ignore rule, a symlink that leads nowhere, or a name that is nearly right.
func (c *Context) Missing(ctx context.Context, p string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	clean := filetree.Clean(plainPart(p))
	reason := c.whyMissing(clean)
	if reason == "" && strings.HasPrefix(strings.TrimPrefix(p, "./"), "../") {
		reason = `".." does not leave the build context`
	}
	if reason != "" {
		reason = ": " + reason
	}
	return fmt.Errorf("%q: not found in the build context%s", p, reason)
}

// plainPart is the part of a pattern before the first element that has a wildcard, or all of a plain path.
func plainPart(p string) string {
	elements := strings.Split(p, "/")
	for i, e := range elements {
		if pattern.HasWildcard(e) {
			return strings.Join(elements[:i], "/")
		}
	}
	return pattern.Unescape(p)
}

func (c *Context) whyMissing(p string) string {
	real, err := c.root.follow(p)
	if err == nil {
		if _, err := c.root.lstat(real); err != nil {
			return withoutPath(err).Error()
		}
		for _, hidden := range []string{p, real} {
			if r, ok := c.ignore.decisive(hidden); ok && !r.negated {
				return "excluded by " + c.ignore.where(r)
			}
		}
		return ""
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return withoutPath(err).Error()
	}
	// Find the first element that is not there.
	at := ""
	for e := range strings.SplitSeq(p, "/") {
		next := filetree.Join(at, e)
		if _, err := c.root.follow(next); err != nil {
			if target, err := c.root.readlink(next); err == nil && target != "" {
				return fmt.Sprintf("%q is a symlink to %q, which is not in the build context", next, target)
			}
			return c.nearest(at, e)
		}
		at = next
	}
	return ""
}

// nearest suggests a name in a directory.
func (c *Context) nearest(dir, name string) string {
	real, err := c.root.follow(dir)
	if err != nil {
		return ""
	}
	fd, err := c.root.open(real, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK)
	if err != nil {
		return ""
	}
	r := reader{buffer: make([]byte, 64<<10)}
	err = errors.Join(r.readNames(fd, wants{all: true}), unix.Close(fd))
	if err != nil {
		return ""
	}
	ignored, err := c.ignore.matcher()
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range r.names {
		if ignored != nil {
			if hidden, err := ignored.MatchesOrParentMatches(filetree.Join(real, e.name)); err != nil || hidden {
				continue
			}
		}
		if strings.EqualFold(e.name, name) {
			return fmt.Sprintf("did you mean %q?", filetree.Join(dir, e.name))
		}
		// A distance of two makes any two short names neighbours.
		if len(name) > 2 {
			names = append(names, e.name)
		}
	}
	if match, ok := suggest.Search(name, names, true); ok {
		return fmt.Sprintf("did you mean %q?", filetree.Join(dir, match))
	}
	return ""
}
