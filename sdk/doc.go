// Package sdk is Trowel's contract with everything that can be plugged in: cache backends, credential providers and
// Dockerfile instructions.
// What is compiled into Trowel implements these interfaces and uses nothing else of Trowel, so a built-in can do
// nothing that a plugin could not.
//
// Every method takes a context first and may be called from several goroutines at once unless its comment says
// otherwise. An implementation says what it does not have with [ErrNotFound], and what is not its business with
// [ErrNotMine]; any other error is a fault, is reported with the backend's name, and never passes for a miss.
package sdk

import "errors"

var (
	// ErrNotFound says that a cache holds no such record or blob. It is an ordinary answer, a miss.
	ErrNotFound = errors.New("not found")
	// ErrNotMine says that a credential provider knows nothing of the registry asked about, and that the next
	// provider is to be asked.
	ErrNotMine = errors.New("not mine")
)
