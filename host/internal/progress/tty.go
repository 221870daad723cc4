package progress

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	tailLines     = 6  // output lines shown below a running step, at most
	failureLines  = 20 // output lines repeated for a failed step
	defaultWidth  = 80
	defaultHeight = 24
	barWidth      = 24
)

// tty is the live view: what has ended scrolls up and stays, what runs is redrawn below it.
type tty struct {
	size   func() (columns, rows int, err error)
	now    func() time.Time
	colour bool

	permanent []string // lines to be written above the frame
	running   []*ttyItem
	failed    []failure
	found     findings
	frame     []int // the columns of each line of the frame on the screen
	finished  bool
}

// ttyItem is a running step or transfer.
type ttyItem struct {
	id       string
	name     string
	transfer bool
	started  time.Time
	current  int64
	total    int64
	streams  map[string]*lineBuffer
	tail     []string // its newest lines, at most failureLines
}

// failure is a failed step with its last output, repeated when the build ends.
type failure struct {
	name, reason string
	tail         []string
}

func newTTY(environment Environment) *tty {
	return &tty{size: environment.Size, now: environment.Now, colour: environment.Getenv("NO_COLOR") == ""}
}

func (v *tty) show(event Event) {
	switch event.Kind {
	case KindStepStarted, KindTransferStarted:
		v.item(event)
	case KindOutput:
		item := v.item(event)
		buffer := item.streams[event.Stream]
		if buffer == nil {
			buffer = &lineBuffer{}
			item.streams[event.Stream] = buffer
		}
		buffer.add(event.Output, item.keep)
	case KindTransferred:
		item := v.item(event)
		item.current, item.total = event.Current, event.Total
	case KindStepDone, KindTransferDone:
		v.done(event)
	case KindMessage:
		prefix := ""
		if event.Level == "warning" {
			prefix = v.paint("33", "warning:") + " "
		}
		for line := range strings.Lines(event.Text) {
			v.permanent = append(v.permanent, prefix+sanitize(strings.TrimRight(line, "\r\n"), dropColours))
			prefix = ""
		}
		if event.Finding != nil {
			v.found = append(v.found, event.Finding)
		}
	}
}

func (v *tty) item(event Event) *ttyItem {
	for _, item := range v.running {
		if item.id == event.ID {
			return item
		}
	}
	name := event.Name
	if name == "" {
		name = event.ID
	}
	item := &ttyItem{id: event.ID, name: oneLine(name), started: event.Time, streams: map[string]*lineBuffer{}}
	switch event.Kind {
	case KindTransferStarted, KindTransferred, KindTransferDone:
		item.transfer = true
	}
	v.running = append(v.running, item)
	return item
}

// keep adds a line of output to the tail.
func (i *ttyItem) keep(line string) {
	if line == "" {
		return
	}
	if len(i.tail) == failureLines {
		i.tail = slices.Delete(i.tail, 0, 1)
	}
	i.tail = append(i.tail, strings.ReplaceAll(sanitize(line, dropColours), "\t", "    "))
}

func (v *tty) done(event Event) {
	item := v.item(event)
	for _, stream := range slices.Sorted(maps.Keys(item.streams)) {
		item.streams[stream].flush(item.keep)
	}
	v.running = slices.DeleteFunc(v.running, func(other *ttyItem) bool { return other == item })
	if event.Current > 0 {
		item.current = event.Current
	}
	elapsed := event.Time.Sub(item.started)
	label := fmt.Sprintf("%9s", formatSeconds(elapsed))
	switch event.Status {
	case StatusCached:
		label = v.paint("36", "   CACHED")
	case StatusCancelled:
		label = v.paint("33", "CANCELLED")
	case StatusFailed:
		label = v.paint("31", "    ERROR")
	}
	line := label + " " + item.name
	if item.transfer && item.current > 0 && event.Status != StatusCached {
		line += " " + strings.TrimSpace(formatBytes(item.current)+" "+formatRate(item.current, elapsed))
	}
	if event.Text != "" {
		line += " " + v.paint("2", "("+oneLine(event.Text)+")")
	}
	reason := oneLine(event.Error)
	if reason != "" {
		line += ": " + reason
	}
	v.permanent = append(v.permanent, line)
	if event.Status == StatusFailed && len(item.tail) > 0 {
		v.failed = append(v.failed, failure{name: item.name, reason: reason, tail: item.tail})
	}
}

// finish ends what has not ended and repeats what failed steps wrote last and what build checks found.
func (v *tty) finish() {
	for len(v.running) > 0 {
		item := v.running[0]
		kind := KindStepDone
		if item.transfer {
			kind = KindTransferDone
		}
		v.done(Event{Time: v.now(), Kind: kind, ID: item.id, Status: StatusCancelled})
	}
	for _, failure := range v.failed {
		title := "------ last output of " + failure.name
		if failure.reason != "" {
			title += ": " + failure.reason
		}
		v.permanent = append(v.permanent, v.paint("31", title))
		v.permanent = append(v.permanent, failure.tail...)
	}
	if len(v.failed) > 0 {
		v.permanent = append(v.permanent, v.paint("31", "------"))
	}
	v.permanent = append(v.permanent, v.found.lines()...)
	v.finished = true
}

// The sequences the view steers the terminal with. Lines of the frame are written without automatic wrapping, so
// that each is one row even where the width of a character was misjudged.
const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	noWrap     = "\x1b[?7l"
	wrap       = "\x1b[?7h"
	clearDown  = "\x1b[J"
)

func (v *tty) render() []byte {
	if len(v.permanent) == 0 && len(v.running) == 0 && len(v.frame) == 0 {
		return nil
	}
	columns, rows, err := v.size()
	if err != nil || columns <= 0 || rows <= 0 {
		columns, rows = defaultWidth, defaultHeight
	}
	var out bytes.Buffer
	v.erase(&out, columns, rows)
	for _, line := range v.permanent {
		out.WriteString(line + "\n")
	}
	v.permanent = nil
	lines := v.draw(columns, rows-1)
	if len(lines) > 0 {
		out.WriteString(hideCursor + noWrap)
		for _, line := range lines {
			out.WriteString(v.paint(line.style, line.text) + "\n")
			v.frame = append(v.frame, textWidth(line.text))
		}
		out.WriteString(wrap)
	}
	if len(lines) == 0 || v.finished {
		out.WriteString(showCursor)
	}
	return out.Bytes()
}

// erase moves the cursor to where the frame on the screen begins and clears from there. A terminal that became
// narrower has wrapped the frame's lines, so that it takes more rows than lines.
func (v *tty) erase(out *bytes.Buffer, columns, rows int) {
	taken := 0
	for _, width := range v.frame {
		taken += max(1, (width+columns-1)/columns)
	}
	v.frame = v.frame[:0]
	if taken = min(taken, rows-1); taken > 0 {
		fmt.Fprintf(out, "\x1b[%dA", taken)
	}
	out.WriteString("\r" + clearDown)
}

// paint returns text in a style of SGR numbers.
func (v *tty) paint(style, text string) string {
	if !v.colour || style == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}
