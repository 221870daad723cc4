package progress

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// transferInterval is how often plain lines tell of a running transfer.
const transferInterval = 5 * time.Second

// plain writes a line for everything that happens, prefixed with the number of its step.
//
// Steps of parallel stages interleave, and sections of a CI log only nest. So a section holds nothing but lines of
// one step: it is opened when a step first writes output while no other step has any, and closed as soon as another
// step has something to say; from then on the output of both is plain, prefixed lines.
type plain struct {
	out    bytes.Buffer
	markup markup
	now    func() time.Time
	items  map[string]*plainItem
	count  int
	open   *plainItem // whose section is open
	found  findings
}

// plainItem is a running step or transfer.
type plainItem struct {
	number   int
	name     string
	transfer bool
	wrote    bool // has written output
	started  time.Time
	told     time.Time // when a transfer was last told of
	current  int64
	total    int64
	streams  map[string]*lineBuffer
}

func newPlain(markup markup, now func() time.Time) *plain {
	return &plain{markup: markup, now: now, items: map[string]*plainItem{}}
}

func (v *plain) render() []byte {
	out := bytes.Clone(v.out.Bytes())
	v.out.Reset()
	return out
}

func (v *plain) show(event Event) {
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
		buffer.add(event.Output, func(line string) { v.output(item, event.Time, line) })
	case KindTransferred:
		item := v.item(event)
		item.current, item.total = event.Current, event.Total
		if event.Time.Sub(item.told) >= transferInterval {
			item.told = event.Time
			v.line(item, item.amount(event.Time))
		}
	case KindStepDone, KindTransferDone:
		v.done(event)
	case KindMessage:
		v.message(event)
	}
}

// finish ends what has not ended.
func (v *plain) finish() {
	items := slices.Collect(maps.Keys(v.items))
	slices.SortFunc(items, func(a, b string) int { return v.items[a].number - v.items[b].number })
	for _, id := range items {
		kind := KindStepDone
		if v.items[id].transfer {
			kind = KindTransferDone
		}
		v.done(Event{Time: v.now(), Kind: kind, ID: id, Status: StatusCancelled})
	}
	v.closeSection()
	for _, line := range v.found.lines() {
		v.out.WriteString(v.markup.line(line) + "\n")
	}
}

// item returns the item the event belongs to, started by this event if it is new.
func (v *plain) item(event Event) *plainItem {
	if item := v.items[event.ID]; item != nil {
		return item
	}
	v.count++
	name := event.Name
	if name == "" {
		name = event.ID
	}
	item := &plainItem{
		number:  v.count,
		name:    v.markup.line(oneLine(name)),
		started: event.Time, told: event.Time,
		streams: map[string]*lineBuffer{},
	}
	switch event.Kind {
	case KindTransferStarted, KindTransferred, KindTransferDone:
		item.transfer = true
	}
	v.items[event.ID] = item
	v.line(item, item.name)
	return item
}

// line writes a line of the item that is not output of its process.
func (v *plain) line(item *plainItem, text string) {
	// The lines of a transfer may stand in the section of a step: a push goes on below all of them.
	if !item.transfer {
		v.closeSection()
	}
	fmt.Fprintf(&v.out, "#%d %s\n", item.number, text)
}

func (v *plain) output(item *plainItem, now time.Time, line string) {
	if v.open != item {
		v.closeSection()
		if !item.wrote && !v.othersWrote(item) {
			v.openSection(item)
		}
	}
	item.wrote = true
	text := v.markup.line(sanitize(line, keepColours))
	fmt.Fprintf(&v.out, "#%d %.3f %s\n", item.number, max(now.Sub(item.started), 0).Seconds(), text)
}

func (v *plain) othersWrote(item *plainItem) bool {
	for _, other := range v.items {
		if other != item && other.wrote {
			return true
		}
	}
	return false
}

func (v *plain) openSection(item *plainItem) {
	v.open = item
	v.out.WriteString(v.markup.open(item.number, fmt.Sprintf("#%d output of %s", item.number, item.name)))
}

func (v *plain) closeSection() {
	if v.open != nil {
		v.out.WriteString(v.markup.end(v.open.number))
		v.open = nil
	}
}

func (v *plain) done(event Event) {
	item := v.item(event)
	for _, stream := range slices.Sorted(maps.Keys(item.streams)) {
		item.streams[stream].flush(func(line string) { v.output(item, event.Time, line) })
	}
	delete(v.items, event.ID)
	v.line(item, v.ending(item, event))
	if event.Status == StatusFailed {
		v.out.WriteString(v.markup.failed(oneLine(item.name + ": " + event.Error)))
	}
}

// ending returns how the item ended: status, figures, remark and reason.
func (v *plain) ending(item *plainItem, event Event) string {
	parts := []string{strings.ToUpper(string(event.Status))}
	if event.Status == StatusFailed {
		parts[0] = "ERROR"
	}
	if event.Status == "" {
		parts[0] = "DONE"
	}
	if event.Current > 0 {
		item.current, item.total = event.Current, event.Total
	}
	switch {
	case event.Status == StatusCached:
	case item.transfer && item.current > 0:
		item.total = 0 // "45MB / 45MB" says nothing more at the end
		parts = append(parts, item.amount(event.Time))
	default:
		parts = append(parts, formatSeconds(event.Time.Sub(item.started)))
	}
	if event.Text != "" {
		parts = append(parts, "("+v.markup.line(oneLine(event.Text))+")")
	}
	line := strings.Join(parts, " ")
	if event.Error != "" {
		line += ": " + v.markup.line(oneLine(event.Error))
	}
	return line
}

func (v *plain) message(event Event) {
	var lines []string
	for line := range strings.Lines(event.Text) {
		lines = append(lines, sanitize(strings.TrimRight(line, "\r\n"), dropColours))
	}
	text := strings.Join(lines, "\n")
	if item := v.items[event.ID]; item != nil && event.ID != "" {
		text = fmt.Sprintf("#%d %s", item.number, text)
	}
	v.out.WriteString(v.markup.message(event, text))
	if event.Finding != nil {
		v.found = append(v.found, event.Finding)
	}
}

// amount returns how far the transfer is: bytes, time and rate.
func (i *plainItem) amount(now time.Time) string {
	text := formatBytes(i.current)
	if i.total > 0 {
		text += " / " + formatBytes(i.total)
	}
	elapsed := now.Sub(i.started)
	text += " " + formatSeconds(elapsed)
	if rate := formatRate(i.current, elapsed); rate != "" {
		text += " " + rate
	}
	return text
}
