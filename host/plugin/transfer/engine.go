package transfer

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

var (
	// ErrMismatch says that bytes are not those of the blob: their number or their digest is another.
	ErrMismatch = errors.New("not the bytes of the blob")
	// ErrChanged says that the server replaced what it had while it was read.
	ErrChanged = errors.New("changed on the server while it was read")
)

// Send makes a request within the user's grants, follows the redirects that the policy allows, and puts granted secrets
// into header values. An [*sdk.Error] of a code other than unavailable, limit or timeout is not tried again.
type Send func(ctx context.Context, request *http.Request, policy sdk.RedirectPolicy) (*http.Response, error)

// Options are the settings of an [Engine]. All but Send have defaults.
type Options struct {
	Send Send
	// Parallel is how many requests move one blob at once; 0 means 4.
	Parallel int
	// PartSize is how many bytes one request gets where the host may choose; 0 means 8 MiB. All transfers of an engine
	// together hold at most Parallel × PartSize bytes in memory.
	PartSize int64
	// Attempts is how often a request is made without any progress; 0 means 5.
	Attempts int
	// Backoff is the first pause between attempts; each further one is twice as long. 0 means 200 ms.
	Backoff time.Duration
	// Stall is how long a server may neither take nor give a byte; 0 means a minute.
	Stall time.Duration
	// Warn takes a line about each attempt that failed and is made again. It is called from several goroutines.
	Warn func(text string)
}

func (o Options) withDefaults() Options {
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	if o.PartSize <= 0 {
		o.PartSize = 8 << 20
	}
	if o.Attempts <= 0 {
		o.Attempts = 5
	}
	if o.Backoff <= 0 {
		o.Backoff = 200 * time.Millisecond
	}
	if o.Stall <= 0 {
		o.Stall = time.Minute
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	return o
}

// Engine moves blobs. It is safe for concurrent use.
type Engine struct {
	Options
	buffers *buffers
}

// New makes an engine.
func New(o Options) *Engine {
	o = o.withDefaults()
	if o.Send == nil {
		panic("transfer: Options.Send is nil")
	}
	return &Engine{Options: o, buffers: newBuffers(int64(o.Parallel)*o.PartSize, o.PartSize)}
}

// Replan asks the plugin for another plan of the same transfer.
type Replan func(ctx context.Context) (sdk.Transfer, error)
