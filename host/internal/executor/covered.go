package executor

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Covered tells what a process in place could not see, before one starts: what lies where the container has a mount, or the
// builder something that stays. A mount below a directory that cannot be moved is not known yet, nor a directory that somebody
// will be in: these are found when it starts.
type Covered struct{ j *journal }

// Covered looks at the container's mounts. Dir and Aside of the plain directory need not exist.
func (r Plain) Covered() (*Covered, error) {
	mounts, err := mountPoints()
	if err != nil {
		return nil, err
	}
	return &Covered{newJournal("/", HiddenDir, mounts, r)}, nil
}

// Content refuses an absolute path if what is at it, or below it, could not be seen.
func (c *Covered) Content(path string) error { return c.check(path, path) }

// Directory is Content for a directory in which nothing is: that of the container does as well.
func (c *Covered) Directory(path string) error {
	where, _ := within("/", path)
	for above := range ancestors(where) {
		if err := c.check("/"+above, path); err != nil {
			return err
		}
	}
	return nil
}

func (c *Covered) check(path, subject string) error {
	for where, ok := within("/", path); ok && where != ""; where = parent(where) {
		if p := c.j.pin(where); p != nil && p.Kind != pinKernel && !c.usual(p) {
			return hiddenError(subject[1:], stays(p))
		}
	}
	return nil
}

// usual says whether a pin gives way to what is there in an image.
func (c *Covered) usual(p *pin) bool {
	for _, where := range usual() {
		if p.Kind == pinOwn && p.Path == where {
			return true
		}
	}
	return false
}

// parent is the directory above a path; "" for the root.
func parent(where string) string {
	for above := range ancestors(where) {
		return above
	}
	return ""
}

// CheckShown is the check of all that a plain directory holds.
func (r Plain) CheckShown() (err error) {
	c, err := r.Covered()
	if err != nil {
		return err
	}
	s := &swap{j: c.j, root: -1, stage: -1, away: -1, moved: map[string]*shifting{}}
	defer also(&err, s.close)
	for fd, path := range map[*int]string{&s.root: "/", &s.stage: r.Dir} {
		if *fd, err = unix.Open(path, dirFlags, 0); err != nil {
			return failure("open directory", path, err)
		}
	}
	err = s.survey("", s.stage, s.root)
	if setup := (*SetupError)(nil); errors.As(err, &setup) && setup.Hint == "" {
		return nil // a directory that another process in place has removed, and the like: it is looked at again
	}
	return err
}

func stays(p *pin) string {
	return fmt.Sprintf("the container has a mount, or something of the builder's, at /%s", p.Path)
}
