//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/trowel-build/trowel/bench/lab"
)

// environment is where Trowel is run: in a container of its own image, or on this machine.
type environment struct {
	name   string
	docker []string // arguments of docker run; nil on this machine
	here   []string // what starts the program there
	pod    bool     // there, as root of a user namespace with a range of IDs
}

// workshop is what the environments need.
type workshop struct {
	docker *lab.Docker
	image  string // the reference of Trowel's image
	binary string // of this machine
	dir    string // scratch that everybody may write
}

// command is a build in the environment of the context in dir, to be pushed as reference. In a container it is what a job that
// was made for kaniko has.
func (e environment) command(ctx context.Context, w workshop, dir, reference string) *exec.Cmd {
	if e.docker != nil {
		words := []string{"run", "--rm", "--network=host", "-v", dir + ":/workspace:ro"}
		for _, word := range e.docker {
			words = append(words, strings.ReplaceAll(word, "@VOLUME@", filepath.Join(w.dir, e.name)))
		}
		words = append(words, w.image, "--context=dir:///workspace", "--destination="+reference)
		return w.docker.Command(ctx, words...)
	}
	words := slices.Concat(e.here, []string{w.binary, "build", "--progress=plain", "--push", "-t", reference, "--cache-dir", filepath.Join(w.dir, e.name)})
	cmd := exec.CommandContext(ctx, words[0], slices.Concat(words[1:], []string{dir})...)
	cmd.Dir = "/"
	if e.pod {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 65536}}
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true, Credential: &syscall.Credential{},
		}
		cmd.Env = append(os.Environ(), "HOME=/")
	}
	return cmd
}

// table says what comes of each Dockerfile in each environment.
type table struct {
	environments []environment
	messages     map[string]string
	rows         []row
}

type row struct {
	name  string
	cells []string // by environment
}

// tried says whether there is an environment for which something is wanted.
func (r row) tried() bool {
	return slices.ContainsFunc(r.cells, func(cell string) bool { return cell != cellNot })
}

const (
	cellWorks = "works"
	cellNot   = "." // not tried
)

// loadTable reads containers/table.txtar.
func loadTable(t *testing.T, file string) table {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parsed := table{messages: map[string]string{}}
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
	case "messages":
		t.messages[name] = strings.TrimSpace(rest)
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
	for _, f := range fields {
		if _, known := t.messages[f]; !known && f != cellWorks && f != cellNot {
			return fmt.Errorf("unknown cell %q", f)
		}
	}
	t.rows = append(t.rows, row{name: name, cells: fields})
	return nil
}
