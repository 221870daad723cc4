package process

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
	"github.com/trowel-build/trowel/sdk/process/wire"
)

// maxTail is how much of what a plugin said last is kept for the error when it crashes, and maxCause how much of the start of
// a Go program's last words: after them come the stacks of all goroutines.
const (
	maxTail  = 4 << 10
	maxCause = 1 << 10
)

// lines passes on what a plugin writes line by line, and keeps the last of it. It is for several goroutines.
type lines struct {
	log func(level sdk.Level, text string)

	mu    sync.Mutex
	part  []byte // of a line
	tail  []byte
	cause []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tail = append(l.tail, p[max(0, len(p)-maxTail):]...)
	if over := len(l.tail) - maxTail; over > 0 {
		l.tail = append(l.tail[:0], l.tail[over:]...)
	}
	for rest := p; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte{'\n'})
		l.part = append(l.part, line[:min(len(line), abi.MaxLog-len(l.part))]...) // of a longer line the start is shown
		if whole {
			l.flush()
		}
		rest = after
	}
	return len(p), nil
}

func (l *lines) flush() {
	if len(l.part) > 0 {
		l.log(sdk.LevelDebug, string(l.part))
	}
	if len(l.cause) > 0 || startsCrash(string(l.part)) {
		l.cause = append(l.cause, l.part[:min(len(l.part), maxCause-len(l.cause))]...)
		if len(l.cause) < maxCause {
			l.cause = append(l.cause, '\n')
		}
	}
	l.part = l.part[:0]
}

// startsCrash recognises how Go's runtime begins.
func startsCrash(line string) bool {
	return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") || strings.HasPrefix(line, "runtime: out of memory")
}

// last is the end of what was written, for an error's detail. A line that has not ended is passed on.
func (l *lines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	text := string(l.tail)
	// The end of the cause may be a line that did not end.
	if cause := strings.TrimSuffix(string(l.cause), "\n"); !strings.Contains(text, cause) {
		text = cause + "\n…\n" + text[max(0, len(text)-(maxTail-maxCause)):]
	}
	return strings.ToValidUTF8(strings.TrimSpace(text), "\uFFFD")
}

// greeting is a plugin's standard output: a line that go-plugin reads, and whatever the plugin prints after it.
type greeting struct {
	from *bufio.Reader
	rest io.Writer

	mu      sync.Mutex
	line    []byte // that go-plugin has not got yet
	read    bool
	problem error
}

// maxGreeting is the length of the first line at most.
const maxGreeting = 16 << 10

func newGreeting(stdout io.Reader, rest io.Writer) *greeting {
	return &greeting{from: bufio.NewReaderSize(stdout, maxGreeting), rest: rest}
}

// Read gives go-plugin the first line if it is what it should be, and otherwise the end.
func (g *greeting) Read(p []byte) (int, error) {
	g.mu.Lock()
	first := !g.read
	g.read = true
	g.mu.Unlock()
	if first {
		line, err := g.from.ReadSlice('\n')
		problem := checkGreeting(string(line))
		g.mu.Lock()
		if g.problem = problem; problem == nil {
			g.line = bytes.Clone(line)
		}
		g.mu.Unlock()
		if len(line) > 0 && problem != nil {
			_, _ = g.rest.Write(line) // lines never fail
		}
		if problem != nil || err != nil {
			return 0, io.EOF
		}
	}
	if len(g.line) > 0 {
		n := copy(p, g.line)
		g.line = g.line[n:]
		return n, nil
	}
	_, _ = io.Copy(g.rest, g.from) // until the plugin and its children have closed it
	return 0, io.EOF
}

// Close implements io.Closer; the file is closed by its owner.
func (g *greeting) Close() error { return nil }

// err is what was wrong with the first line.
func (g *greeting) err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.problem
}

// checkGreeting says what go-plugin would not say as clearly.
func checkGreeting(line string) error {
	if line == "" {
		return nil // it ended, or prints nothing: that is told elsewhere
	}
	fields := strings.Split(strings.TrimSpace(line), "|")
	if _, err := strconv.Atoi(fields[0]); err != nil || len(fields) < 4 {
		return &sdk.Error{Code: sdk.CodeCrashed, Message: fmt.Sprintf("the plugin printed to standard output before it served: %q; "+
			"it should print to standard error, or after it has called Main", cut(strings.TrimSpace(line), 120))}
	}
	if fields[1] != strconv.Itoa(abi.Version) {
		return &sdk.Error{Code: sdk.CodeUnsupported, Message: fmt.Sprintf("the plugin speaks version %s of the ABI, and this trowel version %d",
			cut(fields[1], 20), abi.Version)}
	}
	if len(fields) < 6 || len(fields[5]) < 50 || fields[4] != "grpc" {
		return &sdk.Error{Code: sdk.CodeUnsupported, Message: "the plugin does not serve gRPC with mutual TLS: go-plugin's AutoMTLS, by the variable PLUGIN_CLIENT_CERT"}
	}
	return nil
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

// logLevels are the levels of LOG frames.
func logLevel(op uint32) sdk.Level {
	switch op {
	case wire.LogInfo:
		return sdk.LevelInfo
	case wire.LogWarning:
		return sdk.LevelWarning
	case wire.LogError:
		return sdk.LevelError
	}
	return sdk.LevelDebug
}
