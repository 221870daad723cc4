package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// sample is one timed build.
type sample struct {
	Seconds float64 `json:"seconds"`
	usage
}

// figures are the samples of a run.
type figures struct {
	Architecture string    `json:"architecture"`
	CPUs         int       `json:"cpus"`
	Rounds       int       `json:"rounds"`
	Builders     []string  `json:"builders"`
	Results      []*result `json:"results"`
}

// result is what a case took with a builder.
type result struct {
	Case    string   `json:"case"`
	Builder string   `json:"builder"`
	Median  float64  `json:"medianSeconds"`
	Samples []sample `json:"samples"`
}

func newFigures(o options) figures {
	return figures{Architecture: runtime.GOARCH, CPUs: runtime.NumCPU(), Rounds: o.rounds, Builders: o.builders}
}

func (f *figures) add(name, builder string, s sample) {
	r := f.find(name, builder)
	if r == nil {
		r = &result{Case: name, Builder: builder}
		f.Results = append(f.Results, r)
	}
	r.Samples = append(r.Samples, s)
	r.Median = median(r.Samples)
}

func (f *figures) find(name, builder string) *result {
	for _, r := range f.Results {
		if r.Case == name && r.Builder == builder {
			return r
		}
	}
	return nil
}

func median(samples []sample) float64 {
	seconds := make([]float64, len(samples))
	for i, s := range samples {
		seconds[i] = s.Seconds
	}
	slices.Sort(seconds)
	middle := len(seconds) / 2
	if len(seconds)%2 == 0 {
		return (seconds[middle-1] + seconds[middle]) / 2
	}
	return seconds[middle]
}

// print writes a table: a line for each case with the medians, and trowel's as a share of each other builder's.
func (f *figures) print(w io.Writer) {
	fmt.Fprintf(w, "\nMedians of %d rounds in seconds; %s, %d CPUs.\n\n", f.Rounds, f.Architecture, f.CPUs)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	peers := slices.DeleteFunc(slices.Clone(f.Builders), func(name string) bool { return name == "trowel" })
	compared := len(peers) < len(f.Builders)
	header := append([]string{"case"}, f.Builders...)
	if compared {
		for _, peer := range peers {
			header = append(header, "trowel/"+peer)
		}
		header = append(header, "peak MB")
	}
	fmt.Fprintln(table, strings.Join(header, "\t")+"\t")
	for _, name := range caseNames() {
		cells := []string{name}
		for _, builder := range f.Builders {
			if r := f.find(name, builder); r != nil {
				cells = append(cells, fmt.Sprintf("%.2f", r.Median))
			}
		}
		if len(cells) == 1 {
			continue // not run
		}
		if compared {
			cells = append(cells, f.ratios(name, peers)...)
		}
		fmt.Fprintln(table, strings.Join(cells, "\t")+"\t")
	}
	table.Flush() //nolint:errcheck // a table on standard output
	f.printKaniko(w)
	known, cold := f.find("copyonly-known", "trowel"), f.find("copyonly", "buildkit")
	if known != nil && cold != nil {
		fmt.Fprintf(w, "\ncopyonly with the base known to trowel, against BuildKit cold: %.3f\n", known.Median/cold.Median)
	}
}

// printKaniko writes what Trowel's image took in a container beside what kaniko took there.
func (f *figures) printKaniko(w io.Writer) {
	if !slices.Contains(f.Builders, imageBuilder) || !slices.Contains(f.Builders, kanikoBuilder) {
		return
	}
	fmt.Fprint(w, "\nIn a default container:\n\n")
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "case\timage\tkaniko\ttimes faster\tpeak MB\t")
	for _, name := range caseNames() {
		if r, kaniko := f.find(name, imageBuilder), f.find(name, kanikoBuilder); r != nil && kaniko != nil {
			fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%.1f\t%.1f\t\n", name, r.Median, kaniko.Median, kaniko.Median/r.Median, r.peak())
		}
	}
	table.Flush() //nolint:errcheck // a table on standard output
}

// peak is the most memory of any sample, in MB.
func (r *result) peak() float64 {
	var peak int64
	for _, s := range r.Samples {
		peak = max(peak, s.PeakRSS)
	}
	return float64(peak) / 1e6
}

// ratios returns trowel's share of each peer's time, and its peak memory.
func (f *figures) ratios(name string, peers []string) []string {
	own := f.find(name, "trowel")
	var cells []string
	for _, peer := range peers {
		cells = append(cells, fmt.Sprintf("%.3f", own.Median/f.find(name, peer).Median))
	}
	return append(cells, fmt.Sprintf("%.1f", own.peak()))
}

func (f *figures) save(path string) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("encode figures: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("save figures: %w", err)
	}
	return nil
}
