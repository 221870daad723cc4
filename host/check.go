package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/plan"
	"github.com/trowel-build/trowel/host/internal/progress"
)

// Checked is what the build checks found in a Dockerfile.
type Checked struct {
	Findings []Finding       `json:"warnings"`
	Sources  []CheckedSource `json:"sources"`
	// Broken is why there may be more to find: the Dockerfile cannot be built. Err is the same error.
	Broken *BuildError `json:"buildError,omitempty"`
	Err    error       `json:"-"`
}

// Finding is what one build check found.
type Finding struct {
	Rule        string    `json:"ruleName"`
	Description string    `json:"description,omitempty"`
	URL         string    `json:"url,omitempty"`
	Detail      string    `json:"detail,omitempty"`
	Location    *Location `json:"location,omitempty"`
}

// CheckedSource is a Dockerfile that was checked.
type CheckedSource struct {
	Name     string `json:"filename,omitempty"`
	Text     []byte `json:"data,omitempty"`
	Language string `json:"language,omitempty"`
}

// BuildError says why a Dockerfile cannot be built.
type BuildError struct {
	Message  string   `json:"message"`
	Location Location `json:"location"`
}

// Check runs the build checks on the request's Dockerfile: on all its stages, or on what the target needs if one is named. It
// builds nothing; of base images it reads the configurations.
func Check(ctx context.Context, r Request) (*Checked, error) {
	r.Progress = progress.Discard{} // what is found is in the result
	stages := plan.AllStages
	if r.Target != "" {
		stages = plan.WhatTargetNeeds
	}
	var c *Checked
	err := evaluate(r, stages, func(b *build) error {
		err := b.parse(ctx)
		if b.text == nil {
			return err
		}
		if err == nil {
			_, err = b.resolve(ctx)
		}
		c = b.checked(err)
		return ctx.Err()
	})
	return c, err
}

func (b *build) checked(err error) *Checked {
	c := &Checked{Sources: []CheckedSource{{Name: b.name, Text: b.text, Language: "Dockerfile"}}, Err: err}
	for _, w := range b.found {
		if w.Rule != "" {
			c.Findings = append(c.Findings, Finding{w.Rule, w.Description, w.URL, w.Text, locate(w.Position)})
		}
	}
	if err != nil {
		c.Broken = &BuildError{Message: err.Error()}
		if e, ok := errors.AsType[*dockerfile.Error](err); ok {
			c.Broken.Location = *locate(e.Position)
		}
	}
	return c
}

// Text is what docker build --check shows, but for the error.
func (c *Checked) Text() string {
	var b strings.Builder
	switch n := len(c.Findings); {
	case n == 1:
		b.WriteString("Check complete, 1 warning has been found!\n")
	case n > 1:
		fmt.Fprintf(&b, "Check complete, %d warnings have been found!\n", n)
	case c.Err == nil:
		b.WriteString("Check complete, no warnings found.\n")
	}
	first := func(f Finding) int {
		if len(f.Location.Ranges) == 0 {
			return 0
		}
		return f.Location.Ranges[0].Start.Line
	}
	byLine := slices.Clone(c.Findings)
	slices.SortStableFunc(byLine, func(x, y Finding) int { return cmp.Compare(first(x), first(y)) })
	for _, f := range byLine {
		fmt.Fprintf(&b, "\nWARNING: %s", f.Rule)
		if f.URL != "" {
			fmt.Fprintf(&b, " - %s", f.URL)
		}
		fmt.Fprintf(&b, "\n%s\n", f.Detail)
		b.WriteString(c.excerpt(f.Location))
	}
	return b.String()
}

// excerpt shows lines with some around them: two in all, or four around a single line.
func (c *Checked) excerpt(at *Location) string {
	lines := strings.Split(string(c.Sources[0].Text), "\n")
	if len(at.Ranges) == 0 {
		return ""
	}
	first, last := at.Ranges[0].Start.Line, min(at.Ranges[len(at.Ranges)-1].End.Line, len(lines))
	if first > len(lines) {
		return ""
	}
	around := 2
	if first == last {
		around = 4
	}
	start, end := first, last
	for shown := 0; shown < around; shown++ {
		if start > 1 {
			start--
			shown++
		}
		if end < len(lines) {
			end++
			shown++
		}
	}
	var b strings.Builder
	const rule = "--------------------\n"
	fmt.Fprintf(&b, "%s:%d\n"+rule, c.Sources[0].Name, first)
	for n := start; n <= end; n++ {
		mark := "   "
		if n >= first && n <= last {
			mark = ">>>"
		}
		fmt.Fprintf(&b, " %3d | %s %s\n", n, mark, lines[n-1])
	}
	return b.String() + rule
}
