package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is tables of text.
type report struct {
	to      io.Writer
	tab     *tabwriter.Writer
	columns int
}

// table begins a table.
func (r *report) table(title string, columns ...string) {
	fmt.Fprintf(r.to, "\n%s\n", title)
	r.tab = tabwriter.NewWriter(r.to, 0, 0, 3, ' ', 0)
	r.columns = len(columns)
	r.row(columns...)
}

// row has a cell for each column, as far as they are given.
func (r *report) row(cells ...string) {
	for len(cells) < r.columns {
		cells = append(cells, "")
	}
	fmt.Fprintf(r.tab, "  %s\n", strings.Join(cells, "\t"))
}

func (r *report) flush() error { return r.tab.Flush() }

// percentile is the value that so many percent of the samples do not exceed.
func percentile(samples []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}

// inMillis writes a time with three digits.
func inMillis(d time.Duration) string { return fmt.Sprintf("%.3g ms", float64(d)/1e6) }
