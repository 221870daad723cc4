package author

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Result is what became of one check.
type Result struct {
	Name string
	Took time.Duration
	// Problems are what is wrong; none means that the plugin does what it has to.
	Problems []string
	// Note is something worth knowing that is no problem: how much memory, why a check has nothing to say.
	Note string
}

// OK says whether nothing is wrong.
func (r Result) OK() bool { return len(r.Problems) == 0 }

// Text is the result for people: a line, and the problems beneath.
func (r Result) Text() string {
	verdict := "ok  "
	if !r.OK() {
		verdict = "FAIL"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-62s %7s", verdict, r.Name, shortTime(r.Took))
	if r.Note != "" {
		b.WriteString("  " + r.Note)
	}
	b.WriteByte('\n')
	for _, p := range r.Problems {
		for line := range strings.Lines(strings.TrimRight(p, "\n") + "\n") {
			b.WriteString("        " + line)
		}
	}
	return b.String()
}

func shortTime(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// Report is the results of all checks.
type Report struct {
	Results []Result
	Took    time.Duration
}

// Failed is how many checks found something.
func (r *Report) Failed() int {
	n := 0
	for _, result := range r.Results {
		if !result.OK() {
			n++
		}
	}
	return n
}

// WriteSummary writes the last line.
func (r *Report) WriteSummary(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%d checks, %d failed, %s\n", len(r.Results), r.Failed(), shortTime(r.Took))
	return err
}

// findings collects what a check finds.
type findings struct {
	problems []string
	note     string
}

func (f *findings) problem(format string, args ...any) {
	const most = 20
	if len(f.problems) < most {
		f.problems = append(f.problems, fmt.Sprintf(format, args...))
	}
}

// must records an error as a problem, and says whether there was none.
func (f *findings) must(doing string, err error) bool {
	if err != nil {
		f.problem("%s: %v", doing, err)
	}
	return err == nil
}

// errNothing says that a check has nothing to say of this plugin.
var errNothing = errors.New("does not apply")
