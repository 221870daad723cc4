package lock

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Error is what is wrong between trowel.toml, trowel.lock and the plugins, with what the user can do about it. Its text does
// not name the plugin: callers do.
type Error struct {
	Err  error
	Cure string
}

// Error is the text of the cause.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint is what the user can do about it.
func (e *Error) Hint() string { return e.Cure }

// Mode says how much a lock file has to say.
type Mode string

// The modes.
const (
	// Open takes files and built-in plugins that are not locked. What comes from a registry is locked always: a tag is
	// looked up by `trowel plugin install` alone.
	Open Mode = ""
	// Frozen takes only what is locked, exactly as it was locked: the way of a CI job.
	Frozen Mode = "frozen"
)

// Wanted is a plugin as trowel.toml has it.
type Wanted struct {
	Name   string
	Source string
	Grants string // their digest
}

// Check returns the entry of a plugin, and whether there is one that holds; what the plugin turns out to be is then put
// before [Entry.Match]. Without an entry, a file or a built-in plugin may be run as it is.
func (f File) Check(w Wanted, mode Mode) (e Entry, locked bool, err error) {
	e, locked = f.Plugins[w.Name]
	switch {
	case kindOf(w.Source) == "":
		return Entry{}, false, fmt.Errorf("source is %q, and must begin with builtin:, file: or oci://", w.Source)
	case !locked && (mode == Frozen || kindOf(w.Source) == kindOCI):
		return Entry{}, false, &Error{Err: errors.New("it is not in " + FileName), Cure: "run " + installing(w.Name)}
	case !locked:
		return Entry{}, false, nil
	case e.Source != w.Source:
		return Entry{}, false, stale(w.Name, fmt.Errorf("%s has it from %q, and trowel.toml from %q", FileName, e.Source, w.Source))
	case mode == Frozen && e.Grants != w.Grants:
		return Entry{}, false, stale(w.Name, errors.New("what it is granted was changed since it was installed"))
	}
	return e, true, nil
}

// Match says whether the bytes that a plugin's source now has are those that were locked. A built-in plugin belongs to
// the program and changes with it: that is an error only when frozen.
func (e Entry) Match(name string, got digest.Digest, mode Mode) error {
	if got == e.Digest || kindOf(e.Source) == kindBuiltin && mode != Frozen {
		return nil
	}
	return stale(name, fmt.Errorf("%s is not what was installed: its digest is %s, and %s says %s", e.Source, got, FileName, e.Digest))
}

// stale is an error that installing the plugin cures.
func stale(plugin string, err error) error {
	return &Error{Err: err, Cure: "if this is what you want, run " + installing(plugin)}
}

func installing(plugin string) string { return "`trowel plugin install " + plugin + "`" }
