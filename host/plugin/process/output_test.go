package process

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

func TestLines(t *testing.T) {
	t.Parallel()
	var got []string
	l := &lines{log: func(level sdk.Level, text string) { got = append(got, string(level)+" "+text) }}
	long := strings.Repeat("x", 3*abi.MaxLog)
	for _, piece := range []string{"one\ntw", "o\n\nthree\n", long, "\nlast"} {
		if n, err := l.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	tail := l.last()
	want := []string{"debug one", "debug two", "debug three", "debug " + long[:abi.MaxLog], "debug last"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(tail) != maxTail || !strings.HasSuffix(tail, "x\nlast") {
		t.Errorf("the tail has %d bytes and ends in %q", len(tail), tail[len(tail)-8:])
	}
}

// Of a Go program that crashed, the reason is kept, however many goroutines it had.
func TestCause(t *testing.T) {
	t.Parallel()
	l := &lines{log: func(sdk.Level, string) {}}
	fmt.Fprintf(l, "ready\npanic: index out of range\n\n")
	for i := range 1000 {
		fmt.Fprintf(l, "goroutine %d [running]:\n", i)
	}
	got := l.last()
	if !strings.HasPrefix(got, "panic: index out of range\n") || !strings.HasSuffix(got, "goroutine 999 [running]:") || len(got) > maxTail+10 {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

// A crash that is short, and whose last line has not ended, when nothing else was written.
func TestCauseInPieces(t *testing.T) {
	t.Parallel()
	l := &lines{log: func(sdk.Level, string) {}}
	fmt.Fprintf(l, "fatal error: netpoll failed\ngoroutine 1 [run")
	if got, want := l.last(), "fatal error: netpoll failed\ngoroutine 1 [run"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	fmt.Fprintf(l, "ning]:\nmore\n")
	if got := l.last(); !strings.HasPrefix(got, "fatal error: netpoll failed\n") || !strings.HasSuffix(got, "more") {
		t.Errorf("after the rest of the line: %q", got)
	}
}

// The first line is go-plugin's, and what follows is shown.
func TestGreeting(t *testing.T) {
	t.Parallel()
	line := "1|1|unix|/dir/sock|grpc|" + strings.Repeat("A", 700) + "\n"
	var rest strings.Builder
	g := newGreeting(strings.NewReader(line+"later\nand later\n"), &rest)
	got, err := io.ReadAll(g)
	if err != nil || string(got) != line || rest.String() != "later\nand later\n" || g.err() != nil {
		t.Errorf("got %q, %q, %v, %v", got, rest.String(), err, g.err())
	}
	for _, noise := range []string{"\n", "loading\n", "1|1\n", strings.Repeat("x", 2*maxGreeting), "no newline"} {
		g := newGreeting(strings.NewReader(noise), io.Discard)
		if got, err := io.ReadAll(g); err != nil || len(got) > 0 || g.err() == nil {
			t.Errorf("%.20q: got %q, %v, %v", noise, got, err, g.err())
		}
	}
}
