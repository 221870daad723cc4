package progress

import (
	"fmt"
	"strings"
	"time"
)

// markup is how a CI system marks lines of its log.
type markup interface {
	folder
	marker
}

// folder folds the lines between open and end under a title; number is unique in the log.
type folder interface {
	open(number int, title string) string
	end(number int) string
}

// marker treats single lines.
type marker interface {
	// line makes a line of untrusted text harmless to the CI system.
	line(text string) string
	// message returns the lines of a message, whose text was made harmless to a terminal.
	message(event Event, text string) string
	// failed returns what is said of a failed step beside its own line.
	failed(text string) string
}

// bare marks nothing.
type bare struct{}

func (bare) open(int, string) string { return "" }
func (bare) end(int) string          { return "" }
func (bare) line(text string) string { return text }
func (bare) failed(string) string    { return "" }

func (bare) message(event Event, text string) string {
	if event.Level == "warning" {
		text = "warning: " + text
	}
	return text + "\n"
}

// gitlab folds by section markers. They need escape sequences, which no untrusted text gets through sanitize.
// See https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections.
type gitlab struct {
	bare
	now func() time.Time
}

func (g gitlab) open(number int, title string) string {
	return fmt.Sprintf("\x1b[0Ksection_start:%d:step_%d\r\x1b[0K%s\n", g.now().Unix(), number, title)
}

func (g gitlab) end(number int) string {
	return fmt.Sprintf("\x1b[0Ksection_end:%d:step_%d\r\x1b[0K\n", g.now().Unix(), number)
}

// github folds and marks by workflow commands. One is recognised at the start of a line, where ours have "#N", and
// in its old form "##[name]" anywhere in a line.
// See https://docs.github.com/actions/reference/workflow-commands-for-github-actions.
type github struct{}

func (github) open(_ int, title string) string { return "::group::" + escapeWorkflow(title) + "\n" }
func (github) end(int) string                  { return "::endgroup::\n" }
func (github) line(text string) string         { return strings.ReplaceAll(text, "##[", "# #[") }

func (g github) failed(text string) string { return "::error::" + escapeWorkflow(g.line(text)) + "\n" }

func (g github) message(event Event, text string) string {
	text = g.line(text)
	if f := event.Finding; f != nil && f.First > 0 {
		return fmt.Sprintf("::warning file=%s,line=%d,endLine=%d,title=%s::%s\n",
			escapeProperty(f.File), f.First, f.Last, escapeProperty(f.Rule), escapeWorkflow(text))
	}
	if event.Level == "warning" {
		return "::warning::" + escapeWorkflow(text) + "\n"
	}
	var out strings.Builder
	for line := range strings.Lines(text + "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "::") { // not ours, so not a command
			out.WriteString("#")
		}
		out.WriteString(line)
	}
	return out.String()
}

// escapeWorkflow encodes the data of a workflow command.
func escapeWorkflow(text string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(text)
}

// escapeProperty encodes a property of a workflow command.
func escapeProperty(text string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(escapeWorkflow(oneLine(text)))
}
