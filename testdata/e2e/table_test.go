//go:build e2e

package e2e

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var wholeFlag = flag.Bool("whole", false, "try also what containers/table.txtar has in brackets")

// table says what comes of each Dockerfile in each environment.
type table struct {
	environments []environment
	endings      map[string]ending // by the word of a cell
	rows         []row
}

// ending is what has to come of a build.
type ending struct {
	works   bool
	ran     bool   // whether a step ran, where it does not work
	message string // that is shown then
}

type row struct {
	name  string
	cells []cell // by environment
}

// cell is what is wanted of a row in an environment.
type cell struct {
	word  string
	whole bool // tried with -whole only
}

const (
	cellWorks = "works"
	cellNot   = "." // not tried
)

// tried says whether anything is wanted.
func (c cell) tried() bool { return c.word != cellNot && (*wholeFlag || !c.whole) }

// tried says whether there is an environment for which something is wanted.
func (r row) tried() bool { return slices.ContainsFunc(r.cells, cell.tried) }

// loadTable reads containers/table.txtar.
func loadTable(t *testing.T, file string) table {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parsed := table{endings: map[string]ending{cellWorks: {works: true}, cellNot: {}}}
	for _, section := range archive.Files {
		for line := range strings.Lines(string(section.Data)) {
			if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if err := parsed.add(section.Name, line); err != nil {
				t.Fatalf("%s: %s: %q: %v", file, section.Name, line, err)
			}
		}
	}
	return parsed
}

func (t *table) add(section, line string) error {
	name, rest, _ := strings.Cut(line, " ")
	fields := strings.Fields(rest)
	switch section {
	case "environments":
		if len(fields) == 0 {
			return errors.New("want what it is after the name")
		}
		e := environment{name: name}
		switch fields[0] {
		case "docker":
			e.docker = append([]string{}, fields[1:]...)
		case "here":
			e.here = fields[1:]
		case "pod":
			e.pod = true
		default:
			return errors.New(`want "docker", "here" or "pod" after the name`)
		}
		t.environments = append(t.environments, e)
	case "refusals", "failures":
		t.endings[name] = ending{ran: section == "failures", message: strings.TrimSpace(rest)}
	case "table":
		return t.addRow(name, fields)
	default:
		return fmt.Errorf("unknown section")
	}
	return nil
}

// addRow reads a line of the table; its first names the environments again.
func (t *table) addRow(name string, fields []string) error {
	if t.rows == nil {
		names := append([]string{name}, fields...)
		for i, e := range t.environments {
			if len(names) != len(t.environments) || names[i] != e.name {
				return errors.New("want the names of the environments in their order")
			}
		}
		t.rows = []row{}
		return nil
	}
	if len(fields) != len(t.environments) {
		return fmt.Errorf("%d cells, want %d", len(fields), len(t.environments))
	}
	r := row{name: name}
	for _, f := range fields {
		word := strings.TrimSuffix(strings.TrimPrefix(f, "("), ")")
		if _, known := t.endings[word]; !known {
			return fmt.Errorf("unknown cell %q", f)
		}
		r.cells = append(r.cells, cell{word: word, whole: word != f})
	}
	t.rows = append(t.rows, r)
	return nil
}
