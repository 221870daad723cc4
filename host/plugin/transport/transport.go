// Package transport is what the two ways to run a plugin, Wasm and processes, have in common: what they are given to run,
// and what a plugin may ask of the host while it answers a call.
package transport

import (
	"context"
	"time"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// Transport runs a plugin.
//
// Each new instance of the plugin is first asked [abi.OpHello], with the request that the transport was opened with.
type Transport interface {
	abi.Conn
	// Hello returns the envelope of the plugin's first answer, starting the plugin if need be.
	Hello(ctx context.Context) ([]byte, error)
	// Close ends the plugin. Calls in progress fail.
	Close(ctx context.Context) error
}

// Services answers what a plugin asks of the host: the one place where grants are checked, under all versions of the ABI.
// It is safe for concurrent use. The context is that of the call which the plugin is answering, and carries what belongs
// to that call.
type Services interface {
	// Do performs an operation and returns the answer's envelope. It has no error of its own: what goes wrong is in the
	// envelope.
	Do(ctx context.Context, op abi.HostOp, request []byte) []byte
	// Log takes a message of the plugin's: text it logged, or a line it wrote to standard output or error (as debug). It
	// may be called with anything a plugin likes to say: Log cleans, cuts and counts.
	Log(level sdk.Level, text string)
}

// Limits bound what a plugin may use.
type Limits struct {
	Memory    int64         // bytes of one instance
	Timeout   time.Duration // of one call, the time the host spends on its behalf included
	Start     time.Duration // until it is ready
	Instances int           // at once
}

// Purity says what an instance of a plugin can observe beside its input.
type Purity string

// The purities of plugins.
const (
	// Ordinary plugins have the real clock and true randomness, and an instance answers one call after the other.
	Ordinary Purity = ""
	// Deterministic plugins have a fixed clock and fixed randomness, and a fresh instance for each call of OpPlan.
	Deterministic Purity = "deterministic"
)
