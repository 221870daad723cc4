//go:build !amd64

package executor

import (
	"errors"
	"os"
)

// The rung supervised is refused before any of these is called.

func becomeServed(identities, User) error { return errors.ErrUnsupported }

func serveMain() { os.Exit(1) }
