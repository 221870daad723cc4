// Package secret holds the secrets of a build. A value is read when it is first wanted, kept in memory alone, and no form of
// printing shows it.
package secret

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// MaxSize bounds a secret's value, as BuildKit does.
const MaxSize = 500 << 10

// ErrNotFound says that the build was given no secret of this ID.
var ErrNotFound = errors.New("the build was given no such secret")

// Source says where a secret's value comes from: one of the fields.
type Source struct {
	File  string // a path
	Env   string // the name of an environment variable; one that is not set is empty
	Value []byte // the value itself
}

// kind says where the value comes from, and nothing of the value.
func (s Source) kind() string {
	switch {
	case s.File != "":
		return "file " + s.File
	case s.Env != "":
		return "environment variable " + s.Env
	}
	return "value (not shown)"
}

// Format prints where the value comes from, whatever the verb: a value must not get into a log.
func (s Source) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.kind()) }

// MarshalJSON is Format's text.
func (s Source) MarshalJSON() ([]byte, error) { return json.Marshal(s.kind()) }

// Error is a secret that cannot be used, with what the user can do about it.
type Error struct {
	ID   string
	Err  error
	hint string
}

// Error never holds the value.
func (e *Error) Error() string { return fmt.Sprintf("secret %q: %v", e.ID, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what would help.
func (e *Error) Hint() string { return e.hint }

// Store is a build's secrets by ID. The nil Store has none. It may be used by many goroutines.
type Store struct{ secrets map[string]*held }

type held struct {
	Source
	once  sync.Once
	value []byte
	err   error
}

// NewStore checks sources without reading them.
func NewStore(sources map[string]Source) (*Store, error) {
	s := &Store{secrets: make(map[string]*held, len(sources))}
	for id, source := range sources {
		if err := source.check(id); err != nil {
			return nil, err
		}
		s.secrets[id] = &held{Source: source}
	}
	return s, nil
}

func (s Source) check(id string) error {
	switch {
	case id == "" || strings.Contains(id, "\x00"):
		return &Error{id, errors.New("its ID is empty or holds a NUL byte"), "write id=NAME"}
	case s.File != "" && s.Env != "" || s.Value != nil && s.File+s.Env != "":
		return &Error{id, errors.New("it has more than one source"), "name a file or an environment variable"}
	case len(s.Value) > MaxSize:
		return tooLarge(id)
	case s.File == "":
		return nil
	}
	info, err := os.Stat(s.File)
	switch {
	case err != nil:
		return &Error{id, err, "the path is relative to the working directory; a variable is named with env=NAME"}
	case info.IsDir():
		return &Error{id, fmt.Errorf("%q is a directory", s.File), "a secret is one file"}
	case info.Size() > MaxSize:
		return tooLarge(id)
	}
	return nil
}

func tooLarge(id string) error {
	return &Error{id, fmt.Errorf("it has more than %d bytes", MaxSize), "large files are given to a build by --build-context, where RUN --mount=type=bind finds them"}
}

// Has says whether there is a secret of this ID.
func (s *Store) Has(id string) bool {
	if s == nil {
		return false
	}
	_, ok := s.secrets[id]
	return ok
}

// Get returns the value of a secret, the same one all through a build. The error wraps [ErrNotFound] where there is none of
// this ID. The caller must not change the value, nor let it get into a file, a log or a cache key.
func (s *Store) Get(ctx context.Context, id string) ([]byte, error) {
	if !s.Has(id) {
		return nil, &Error{id, ErrNotFound, fmt.Sprintf("give it with --secret id=%s,src=FILE or --secret id=%s,env=NAME", id, id)}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	h := s.secrets[id]
	h.once.Do(func() { h.value, h.err = h.read(id) })
	return h.value, h.err
}

func (s Source) read(id string) ([]byte, error) {
	value := s.Value
	switch {
	case s.Env != "":
		value = []byte(os.Getenv(s.Env))
	case s.File != "":
		f, err := os.Open(s.File)
		if err != nil {
			return nil, &Error{id, err, ""}
		}
		defer f.Close()
		if value, err = io.ReadAll(io.LimitReader(f, MaxSize+1)); err != nil {
			return nil, &Error{id, err, ""}
		}
	}
	if len(value) > MaxSize {
		return nil, tooLarge(id)
	}
	return value, nil
}
