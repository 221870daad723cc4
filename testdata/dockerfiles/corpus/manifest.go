package corpus

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// Manifest lists the rules of the language.
type Manifest struct {
	Rows    map[string]string // what a row says, by its ID
	Pending []string          // rows of what is not there yet
}

// LoadManifest reads a file of lines "ID what it says"; a line that begins with '#' is a remark, and an ID with "pending" after
// it has no case yet because what it tells of is not built.
func LoadManifest(file string) (*Manifest, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	m := &Manifest{Rows: map[string]string{}}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, says, _ := strings.Cut(line, " ")
		if says = strings.TrimSpace(says); says == "" {
			return nil, fmt.Errorf("%s: row %s says nothing", file, id)
		}
		if rest, pending := strings.CutPrefix(says, "pending: "); pending {
			m.Pending, says = append(m.Pending, id), rest
		}
		if _, twice := m.Rows[id]; twice {
			return nil, fmt.Errorf("%s: row %s is there twice", file, id)
		}
		m.Rows[id] = says
	}
	return m, nil
}

// ClaimedBy are the cases that other tests have of the rows: archives with a line "rows: ID…" in their comment, a remark or not.
func ClaimedBy(pattern string) ([]*Case, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	var cases []*Case
	for _, name := range files {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(archive.Comment)) {
			if rows, ok := strings.CutPrefix(strings.TrimPrefix(line, "# "), "rows: "); ok {
				cases = append(cases, &Case{Name: name, Rows: strings.Fields(rows)})
			}
		}
	}
	return cases, nil
}

// Check compares the manifest with the cases: every row needs one, and none claims what the manifest does not have.
func (m *Manifest) Check(cases []*Case) (faults []string) {
	claimed := map[string]bool{}
	for _, c := range cases {
		if len(c.Rows) == 0 {
			faults = append(faults, fmt.Sprintf("case %s claims no row", c.Name))
		}
		for _, id := range c.Rows {
			claimed[id] = true
			if _, known := m.Rows[id]; !known {
				faults = append(faults, fmt.Sprintf("case %s claims row %s, which the manifest does not have", c.Name, id))
			}
		}
	}
	for id, says := range m.Rows {
		pending := slices.Contains(m.Pending, id)
		switch {
		case pending && claimed[id]:
			faults = append(faults, fmt.Sprintf("row %s has a case and is pending no more", id))
		case !pending && !claimed[id]:
			faults = append(faults, fmt.Sprintf("row %s (%s) has no case", id, says))
		}
	}
	slices.Sort(faults)
	return faults
}

// LoadScenario reads what a scenario of testdata/script claims: a rule that no single image shows, such as what a cache key is made
// of, is shown by a scenario that says "# rows: ID…" in its first lines.
func LoadScenario(file string) (*Case, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c := &Case{Name: file}
	for line := range strings.Lines(string(text)) {
		if ids, ok := strings.CutPrefix(line, "# rows: "); ok {
			c.Rows = append(c.Rows, strings.Fields(ids)...)
		}
	}
	return c, nil
}
