package executor

import (
	"bytes"
	"cmp"
	"encoding/gob"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// journal is what must be known to undo a swap.
type journal struct {
	Phase phase
	Stage string // the plain directory's path
	// Pins and Spines are sorted by path; see [swap]. Paths are relative to the root, which is "".
	Pins   []pin
	Spines []*spine
	Mounts []string // all mount points
}

// phase says what a swap was doing. What of it was done is seen in the directories.
type phase string

const (
	phaseAway phase = "away" // the root holds the container's entries
	phaseIn   phase = "in"   // the root holds the plain directory's entries
	phaseBack phase = "back" // the root holds the container's entries
)

// pin is something that stays where it is.
type pin struct {
	Path string
	Kind pinKind
}

type pinKind string

const (
	pinKernel pinKind = "kernel" // a mount of the kernel's, or a file that every container has mounted
	pinMount  pinKind = "mount"  // another mount
	pinOwn    pinKind = "own"    // of the builder's
)

// spine is a directory with something pinned below it.
type spine struct {
	Path  string
	Look  *look // as the container has it
	Shown bool  // the plain directory has one too
}

func (j *journal) pin(where string) *pin {
	i, ok := slices.BinarySearchFunc(j.Pins, where, func(p pin, where string) int { return cmp.Compare(p.Path, where) })
	if !ok {
		return nil
	}
	return &j.Pins[i]
}

func (j *journal) pinned(where string) bool { return j.pin(where) != nil }

func (j *journal) spine(where string) *spine {
	i, ok := slices.BinarySearchFunc(j.Spines, where, func(s *spine, where string) int { return cmp.Compare(s.Path, where) })
	if !ok {
		return nil
	}
	return j.Spines[i]
}

// keep pins a path and makes a spine of all that is above it.
func (j *journal) keep(where string, kind pinKind) {
	for above := range ancestors(where) {
		if j.pinned(above) {
			return // it stays with that
		}
	}
	j.Pins = slices.DeleteFunc(j.Pins, func(p pin) bool { return strings.HasPrefix(p.Path, where+"/") || p.Path == where })
	j.Spines = slices.DeleteFunc(j.Spines, func(s *spine) bool { return strings.HasPrefix(s.Path, where+"/") || s.Path == where })
	i, _ := slices.BinarySearchFunc(j.Pins, where, func(p pin, where string) int { return cmp.Compare(p.Path, where) })
	j.Pins = slices.Insert(j.Pins, i, pin{where, kind})
	for above := range ancestors(where) {
		j.addSpine(above)
	}
}

func (j *journal) addSpine(where string) {
	i, ok := slices.BinarySearchFunc(j.Spines, where, func(s *spine, where string) int { return cmp.Compare(s.Path, where) })
	if !ok {
		j.Spines = slices.Insert(j.Spines, i, &spine{Path: where, Shown: where == ""})
	}
}

// ancestors are the directories above a path, the root last.
func ancestors(where string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for where != "" {
			if where = path.Dir(where); where == "." {
				where = ""
			}
			if !yield(where) {
				return
			}
		}
	}
}

// pinMountsIn pins the mounts that lie directly in a spine: a mount point cannot be moved, but what it lies in can, and the
// mount goes with it.
func (j *journal) pinMountsIn(where string) {
	for _, m := range j.Mounts {
		for above := range ancestors(m) {
			if above == where && !j.pinned(m) {
				j.keep(m, kindOf(m))
			}
			break
		}
	}
}

// pinMounts makes a spine of a directory that cannot be moved whole, if there are mounts below it.
func (j *journal) pinMounts(where string) bool {
	if !slices.ContainsFunc(j.Mounts, func(m string) bool { return strings.HasPrefix(m, where+"/") }) {
		return false
	}
	j.addSpine(where)
	j.pinMountsIn(where)
	return true
}

// kindOf tells what every container has mounted from what this one has.
func kindOf(where string) pinKind {
	switch where {
	case "proc", "sys", "dev", "etc/resolv.conf", "etc/hosts", "etc/hostname":
		return pinKernel
	}
	return pinMount
}

const journalName = "journal"

// write puts the journal down, whole or not at all.
func (j *journal) write(own string, p phase) error {
	j.Phase = p
	var text bytes.Buffer // a path may hold any bytes, which JSON cannot
	err := gob.NewEncoder(&text).Encode(j)
	if err == nil {
		err = os.WriteFile(filepath.Join(own, journalName+".new"), text.Bytes(), 0o600)
	}
	if err == nil {
		err = os.Rename(filepath.Join(own, journalName+".new"), filepath.Join(own, journalName))
	}
	if err != nil {
		return failure("write journal", own, err)
	}
	return nil
}

func readJournal(own string) (*journal, error) {
	text, err := os.ReadFile(filepath.Join(own, journalName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none
	}
	j := &journal{}
	if err == nil {
		err = gob.NewDecoder(bytes.NewReader(text)).Decode(j)
	}
	if err != nil {
		return nil, failure("read journal", own, err)
	}
	return j, nil
}

func (j *journal) remove(own string) error {
	if err := os.Remove(filepath.Join(own, journalName)); err != nil {
		return failure("remove journal", own, err)
	}
	return nil
}
