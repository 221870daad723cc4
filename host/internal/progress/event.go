// Package progress carries what a build tells its user: events from the engine, shown on a terminal, as plain lines or
// as JSON lines.
package progress

import "time"

// Reporter receives the events of a build. Report is called from many goroutines, must not block for long, and must not
// keep Event.Output after it returned.
type Reporter interface {
	Report(Event)
}

// Event is one thing that happened. Its JSON form is the line format of --progress=rawjson.
type Event struct {
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`
	// ID says which step or transfer the event belongs to. It is unique in a build.
	ID string `json:"id,omitempty"`
	// Name is what a user reads: "[build 2/5] RUN make", "pull debian:12 sha256:ab12…". Set when a step or
	// transfer starts.
	Name string `json:"name,omitempty"`
	// Stream is "stdout" or "stderr" of a step's process, with KindOutput.
	Stream string `json:"stream,omitempty"`
	// Output is what the step's process wrote, cut anywhere.
	Output []byte `json:"output,omitempty"`
	// Current and Total count the bytes of a transfer; Total is 0 while unknown.
	Current int64 `json:"current,omitempty"`
	Total   int64 `json:"total,omitempty"`
	// Status is how a step or transfer ended.
	Status Status `json:"status,omitempty"`
	// Text is the message of KindMessage, or a remark on how a step ended: why it missed the cache, say.
	Text string `json:"text,omitempty"`
	// Level of a KindMessage: "info" or "warning".
	Level string `json:"level,omitempty"`
	// Error is the reason of StatusFailed.
	Error string `json:"error,omitempty"`
	// Finding is what a build check found, with a KindMessage that tells of it.
	Finding *Finding `json:"finding,omitempty"`
}

// Finding is what a build check found in a Dockerfile.
type Finding struct {
	Rule        string `json:"rule"`
	Text        string `json:"text"`
	Description string `json:"description,omitempty"`
	URL         string `json:"url,omitempty"` // of the rule's documentation
	File        string `json:"file"`
	// First and Last are the lines of the instruction, Line and Column those of the word in question; Column is 0 if none is.
	First  int `json:"first"`
	Last   int `json:"last"`
	Line   int `json:"line"`
	Column int `json:"column,omitempty"`
	// Excerpt is the instruction's source for the terminal, with the word marked.
	Excerpt string `json:"-"`
}

// Kind says what an [Event] is.
type Kind string

// The kinds of event.
const (
	KindStepStarted     Kind = "step-started"
	KindOutput          Kind = "output"
	KindStepDone        Kind = "step-done"
	KindTransferStarted Kind = "transfer-started"
	KindTransferred     Kind = "transferred" // Current moved
	KindTransferDone    Kind = "transfer-done"
	KindMessage         Kind = "message"
)

// Status says how a step or a transfer ended.
type Status string

// The ways to end.
const (
	StatusDone      Status = "done"
	StatusCached    Status = "cached" // the result came from a cache; for a blob: the registry had it, or mounted it
	StatusFailed    Status = "failed"
	StatusCancelled Status = "cancelled"
)

// Discard is a [Reporter] that shows nothing.
type Discard struct{}

// Report does nothing.
func (Discard) Report(Event) {}
