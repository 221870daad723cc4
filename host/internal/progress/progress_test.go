package progress

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// -update rewrites the golden files.
func golden(t *testing.T, name, got string) {
	t.Helper()
	got = strings.NewReplacer("\x1b", "␛", "\r", "␍").Replace(got)
	path := filepath.Join("testdata", name+".golden")
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestMain(m *testing.M) {
	flag.Bool("update", false, "rewrite the golden files")
	flag.Parse()
	os.Exit(m.Run())
}

// epoch is when the builds of these tests begin.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds float64) time.Time {
	return epoch.Add(time.Duration(seconds * float64(time.Second)))
}

// build is a build with a base pulled, two stages that interleave, hostile output, a failure and a push cut short.
func build() []Event {
	out := func(seconds float64, id, stream, text string) Event {
		return Event{Time: at(seconds), Kind: KindOutput, ID: id, Stream: stream, Output: []byte(text)}
	}
	return []Event{
		{Time: at(0), Kind: KindMessage, Level: "info", Text: "isolation: namespaces"},
		{Time: at(0), Kind: KindTransferStarted, ID: "pull", Name: "pull debian:12 sha256:ab12"},
		{Time: at(1), Kind: KindTransferred, ID: "pull", Current: 10_000_000, Total: 50_000_000},
		{Time: at(5.5), Kind: KindTransferred, ID: "pull", Current: 40_000_000, Total: 50_000_000},
		{Time: at(6), Kind: KindTransferred, ID: "pull", Current: 45_000_000, Total: 50_000_000},
		{Time: at(6.5), Kind: KindTransferDone, ID: "pull", Current: 50_000_000, Total: 50_000_000, Status: StatusDone},
		{Time: at(6.5), Kind: KindStepStarted, ID: "copy", Name: "[build 1/3] COPY . ."},
		{Time: at(6.5), Kind: KindStepDone, ID: "copy", Status: StatusCached, Text: "from the local cache"},
		{Time: at(7), Kind: KindStepStarted, ID: "make", Name: "[build 2/3] RUN make <<EOF\nall\nEOF"},
		out(7.25, "make", "stdout", "cc a.c\r\ncc b"),
		out(7.5, "make", "stderr", "warning: \x1b[33munused\x1b[0m\n"),
		out(8, "make", "stdout", ".c\n"),
		{Time: at(8), Kind: KindStepStarted, ID: "docs", Name: "[docs 1/1] RUN docs"},
		out(8.5, "docs", "stdout", "::error::forged ##[error]forged\n\x1b]0;title\a\x1b[2Jcleared\u202e\x9b\n"),
		out(8.75, "make", "stdout", "10%\r55%\rlinking"),
		{Time: at(9), Kind: KindMessage, Level: "warning", Text: "line 3: 100% of\nMAINTAINER is deprecated"},
		{Time: at(9.5), Kind: KindStepDone, ID: "docs", Status: StatusDone, Text: "context changed: docs/a.md"},
		{Time: at(10), Kind: KindTransferStarted, ID: "push", Name: "push registry.example.com/app:1"},
		{Time: at(10), Kind: KindStepDone, ID: "make", Status: StatusFailed, Error: "exit code 2"},
		{Time: at(10.5), Kind: KindTransferred, ID: "push", Current: 1000, Total: 2000},
	}
}

func TestPlain(t *testing.T) {
	t.Parallel()
	for name, variable := range map[string]string{"plain": "CI", "gitlab": "GITLAB_CI", "github": "GITHUB_ACTIONS"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			p, err := New(ModeAuto, &out, Environment{
				Now: func() time.Time { return epoch },
				Getenv: func(key string) string {
					return map[string]string{variable: "true"}[key]
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, event := range build() {
				p.Report(event)
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			golden(t, name, out.String())
		})
	}
}

// TestFindings has what build checks find told at once, and in full at the end.
func TestFindings(t *testing.T) {
	t.Parallel()
	events := []Event{
		{Time: at(0), Kind: KindMessage, Level: "warning", Text: "a.df:2:5: One: first", Finding: &Finding{
			Rule: "One", Text: "first", Description: "why", URL: "https://example.com/one", File: "a.df", First: 2, Last: 3, Line: 2, Column: 5,
			Excerpt: "> 2 | RUN \x1bx\n",
		}},
		{Time: at(1), Kind: KindStepStarted, ID: "run", Name: "[1/1] RUN x"},
		{Time: at(2), Kind: KindMessage, Level: "warning", Text: "a.df:4: Two: second", Finding: &Finding{
			Rule: "Two", Text: "second", Description: "second", File: "a.df", First: 4, Last: 5, Line: 4,
		}},
		{Time: at(3), Kind: KindStepDone, ID: "run", Status: StatusDone},
	}
	for name, environment := range map[string]string{"findings": "", "findings-github": "GITHUB_ACTIONS"} {
		var out bytes.Buffer
		p, err := New(ModePlain, &out, Environment{
			Getenv: func(name string) string { return map[string]string{environment: "true"}[name] }, Now: func() time.Time { return at(4) },
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			p.Report(e)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.String())
	}
	v := newTTY(Environment{Size: func() (int, int, error) { return 80, 24, nil }, Now: func() time.Time { return at(4) }, Getenv: func(string) string { return "" }})
	for _, e := range events {
		v.show(e)
	}
	v.finish()
	if out := string(v.render()); strings.Count(out, "https://example.com/one") != 1 || !strings.Contains(out, "2 warnings of build checks:") {
		t.Errorf("the terminal shows %q", out)
	}
}

func TestRawJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p, err := New(ModeRawJSON, &out, Environment{})
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range build() {
		p.Report(event)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	var got []Event
	for line := range bytes.Lines(out.Bytes()) {
		var event Event
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		got = append(got, event)
	}
	if diff := cmp.Diff(build(), got); diff != "" {
		t.Errorf("events (-sent +read back):\n%s", diff)
	}
}

func TestTTY(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		terminal := newScreen(t, 80, 16)
		p, err := New(ModeAuto, terminal, Environment{Size: terminal.size, Now: clock()})
		if err != nil {
			t.Fatal(err)
		}
		var film strings.Builder
		start := time.Now()
		for _, event := range build() {
			time.Sleep(time.Until(start.Add(event.Time.Sub(epoch))))
			p.Report(event)
			time.Sleep(redrawInterval)
			synctest.Wait()
			fmt.Fprintf(&film, "==== after %s %s at %s\n%s\n", event.Kind, event.ID, event.Time.Sub(epoch), terminal.text())
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&film, "==== closed\n%s\n", terminal.text())
		if terminal.hidden || terminal.noWrap {
			t.Errorf("the terminal was left with its cursor hidden (%t) or not wrapping (%t)", terminal.hidden, terminal.noWrap)
		}
		if most := int(time.Since(start)/redrawInterval) + 2; terminal.writes > most {
			t.Errorf("%d writes to the terminal, want at most %d", terminal.writes, most)
		}
		golden(t, "tty", film.String())
	})
}

// clock is the clock of a synctest bubble, moved so that the bubble began at epoch.
func clock() func() time.Time {
	start := time.Now()
	return func() time.Time { return epoch.Add(time.Since(start)) }
}

// A frame never takes more rows than the screen has, however many steps run, and survives a narrower window: the
// screen fails the test if the cursor is ever sent above it, and what has scrolled up must not be drawn twice.
func TestTTYResize(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		terminal := newScreen(t, 100, 10)
		p, err := New(ModeTTY, terminal, Environment{Size: terminal.size, Now: clock()})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 30 {
			id := fmt.Sprint("s", i)
			p.Report(Event{Time: epoch, Kind: KindStepStarted, ID: id, Name: fmt.Sprintf("step %d %s", i, strings.Repeat("long ", 20))})
			p.Report(Event{Time: epoch, Kind: KindOutput, ID: id, Output: []byte(strings.Repeat("output 漢字 ", 20) + "\n")})
		}
		time.Sleep(2 * redrawInterval)
		synctest.Wait()
		for _, columns := range []int{60, 33, 20, 7} {
			if rows := strings.Count(terminal.text(), "\n"); columns == 60 && rows > 9 {
				t.Errorf("the frame takes %d rows of 10", rows)
			}
			terminal.narrow(columns)
			time.Sleep(2 * redrawInterval)
			synctest.Wait()
		}
		for i := range 30 {
			p.Report(Event{Time: epoch, Kind: KindStepDone, ID: fmt.Sprint("s", i), Status: StatusDone, Text: fmt.Sprintf("<%d>", i)})
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(terminal.text(), "\n", "")
		for i := range 30 {
			if n := strings.Count(text, fmt.Sprintf("(<%d>)", i)); n != 1 {
				t.Errorf("step %d is said to have ended %d times", i, n)
			}
		}
	})
}

func TestModes(t *testing.T) {
	t.Parallel()
	size := func() (int, int, error) { return 80, 24, nil }
	dumb := func(key string) string { return map[string]string{"TERM": "dumb"}[key] }
	tests := []struct {
		name        string
		mode        string
		environment Environment
		want        string // the prefix of what a step's start gives
		err         error
	}{
		{name: "auto on a terminal", mode: "", environment: Environment{Size: size}, want: "\r\x1b[J"},
		{name: "auto on a dumb terminal", mode: "auto", environment: Environment{Size: size, Getenv: dumb}, want: "#1 x\n"},
		{name: "auto elsewhere", mode: "auto", want: "#1 x\n"},
		{name: "plain on a terminal", mode: "plain", environment: Environment{Size: size}, want: "#1 x\n"},
		{name: "quiet", mode: "quiet", environment: Environment{Size: size}, want: ""},
		{name: "tty elsewhere", mode: "tty", err: ErrNotTerminal},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			mode, err := ParseMode(test.mode)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			p, err := New(mode, &out, test.environment)
			if !errors.Is(err, test.err) {
				t.Fatalf("got %v, want %v", err, test.err)
			}
			if err != nil {
				return
			}
			p.Report(Event{Kind: KindStepStarted, ID: "1", Name: "x"})
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			p.Report(Event{Kind: KindStepStarted, ID: "2", Name: "late"})
			if !strings.HasPrefix(out.String(), test.want) || (test.want == "") != (out.Len() == 0) || strings.Contains(out.String(), "late") {
				t.Errorf("wrote %q, want %q first", out.String(), test.want)
			}
		})
	}
	if _, err := ParseMode("fancy"); err == nil || !strings.Contains(err.Error(), `"fancy"`) {
		t.Errorf("ParseMode of an unknown name: %v", err)
	}
}

// Many steps report at once, in pieces cut anywhere; every line arrives whole, once, under its own number.
func TestConcurrentOutput(t *testing.T) {
	t.Parallel()
	const steps, lines = 8, 200
	var out bytes.Buffer
	p, err := New(ModePlain, &out, Environment{})
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for step := range steps {
		wait.Go(func() {
			id := fmt.Sprint(step)
			p.Report(Event{Kind: KindStepStarted, ID: id, Name: "step-" + id})
			piece := make([]byte, 7)
			var text bytes.Buffer
			for line := range lines {
				fmt.Fprintf(&text, "<%s:%d>\n", id, line)
			}
			for text.Len() > 0 {
				n, _ := text.Read(piece) // a bytes.Buffer has no other error than EOF
				p.Report(Event{Kind: KindOutput, ID: id, Stream: "stdout", Output: piece[:n]})
			}
			p.Report(Event{Kind: KindStepDone, ID: id, Status: StatusDone})
		})
	}
	wait.Wait()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	numbers := map[string]string{} // of a step, by its name
	next := map[string]int{}
	for line := range strings.Lines(out.String()) {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(fields[1], "step-"):
			numbers[fields[0]] = strings.TrimPrefix(fields[1], "step-")
		case len(fields) == 3 && strings.HasPrefix(fields[2], "<"):
			id := numbers[fields[0]]
			if want := fmt.Sprintf("<%s:%d>", id, next[id]); fields[2] != want {
				t.Fatalf("line %q, want %s", line, want)
			}
			next[id]++
		case fields[1] != "DONE":
			t.Errorf("line %q is no line of a step", line)
		}
	}
	for id, n := range next {
		if n != lines {
			t.Errorf("step %s has %d lines, want %d", id, n, lines)
		}
	}
	if len(next) != steps {
		t.Errorf("%d steps wrote, want %d", len(next), steps)
	}
}

type broken struct{ calls int }

var errBroken = errors.New("broken pipe")

func (b *broken) Write([]byte) (int, error) {
	b.calls++
	return 0, errBroken
}

func TestWriteError(t *testing.T) {
	t.Parallel()
	w := &broken{}
	p, err := New(ModePlain, w, Environment{})
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range build() {
		p.Report(event)
	}
	for range 2 {
		if err := p.Close(); !errors.Is(err, errBroken) {
			t.Errorf("Close: %v, want %v", err, errBroken)
		}
	}
	if w.calls != 1 {
		t.Errorf("a broken writer was called %d times", w.calls)
	}
}
