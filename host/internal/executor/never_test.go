package executor

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the table of README.md")

// neverWays are the columns of the table: the rungs, and in place a second time with the rights that are the least.
func neverWays() []string {
	return []string{"namespaces", "supervised", "chroot", "inplace", "inplace, five rights"}
}

// neverRow is one attack, and whether it is possible in each of neverWays.
type neverRow struct {
	item, does string
	attack     string // its name in testdata/inside, or in [neverBuilder.try]
	on         string // the process or file that it is aimed at; "" is the builder
	want       [5]neverAnswer
}

func (r neverRow) name() string { return strings.TrimSuffix(r.attack+" "+r.on, " ") }

// neverAnswer is what the table says: nothing is "no".
type neverAnswer struct {
	possible bool
	before   string // Linux before this version cannot prevent it
	why      string
}

func (a neverAnswer) String() string {
	switch {
	case a.possible:
		return "**possible**: " + a.why
	case a.before != "":
		return "no; before Linux " + a.before + " possible"
	case a.why != "":
		return "no, " + a.why
	}
	return "no"
}

// now is the answer on this machine.
func (a neverAnswer) now() bool {
	if a.before == "" {
		return a.possible
	}
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	return errno != 0 || version < landlockScopes
}

// TestNever holds the table of what a process may not do, both ways: what is possible and not said so fails, and so does what is
// said to be and is not. See README.md.
func TestNever(t *testing.T) {
	t.Parallel()
	ways := map[string]func(*testing.T) []outcome{"namespaces": neverNamespaces}
	if mayChroot(t) && os.Getenv(envInside) == "" {
		ways[withoutRung] = neverControl
		ways["chroot"] = func(t *testing.T) []outcome { return neverPlain(t, RungChroot) }
		ways["inplace"] = func(t *testing.T) []outcome { return neverInPlace(t, "default") }
		ways["inplace, five rights"] = func(t *testing.T) []outcome { return neverInPlace(t, "few") }
		if supervisedOffers(Process{}) == nil {
			ways["supervised"] = func(t *testing.T) []outcome { return neverPlain(t, RungSupervised) }
		}
	}
	for name, try := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outcomes := try(t)
			for i, row := range neverRows() {
				t.Run(row.name(), func(t *testing.T) { outcomes[i].compare(t, row, name) })
			}
		})
	}
	if len(ways) == len(neverWays())+1 {
		t.Cleanup(func() { checkNeverTable(t) })
	}
}

// withoutRung is the way of a process that nothing holds: an attack that would not succeed anywhere shows nothing.
const withoutRung = "control"

// uncontrolled are the attacks that would hit the tests themselves, or concern no process.
func (r neverRow) uncontrolled() bool {
	return r.attack == "orphan" || strings.HasPrefix(r.attack, "symlink") || r.attack == "handle"
}

func (o outcome) compare(t *testing.T, row neverRow, way string) {
	t.Helper()
	want := !row.uncontrolled()
	if way != withoutRung {
		want = row.want[slices.Index(neverWays(), way)].now()
	}
	if o.Row != row.name() || o.Err != "" {
		t.Fatalf("%s: the attack was not made: %s", o.Row, o.Err)
	}
	if o.Possible != want {
		t.Errorf("possible %v, want %v (%s)", o.Possible, want, o.Detail)
	}
}

// tryAll makes all attacks, one after the other.
func (b *neverBuilder) tryAll() []outcome {
	var all []outcome
	for _, row := range neverRows() {
		all = append(all, b.try(row))
	}
	return all
}

// neverHere makes this process the builder, which has a plugin.
func neverHere(t *testing.T, program string) *neverBuilder {
	t.Helper()
	work := t.TempDir()
	b, err := newNeverBuilder(work, filepath.Join(work, "config.json"), program)
	must(t, err)
	t.Cleanup(func() { must(t, b.close()) })
	must(t, b.startPlugin(inside, false))
	return b
}

func neverNamespaces(t *testing.T) []outcome {
	t.Helper()
	b, r := neverHere(t, "/bin/inside"), newRootfs(t, 1)
	b.image = base(r)
	b.run = func(change func(*Process), args ...string) (string, error) {
		p := command(args...)
		if change != nil {
			change(&p)
		}
		return outputOf(t, r, p)
	}
	return b.tryAll()
}

func neverPlain(t *testing.T, rung Rung) []outcome {
	t.Helper()
	b, c := neverHere(t, "/bin/inside"), newChrooted(t)
	b.image = c.root.Dir
	b.run = func(change func(*Process), args ...string) (string, error) {
		var out bytes.Buffer
		p := command(args...)
		if change != nil {
			change(&p)
		}
		p.Stdout, p.Stderr = &out, &out
		_, err := launcher.RunPlain(t.Context(), rung, c.root, p)
		return out.String(), err
	}
	return b.tryAll()
}

// neverControl makes the attacks as a process that nothing holds, beside the builder and of its user.
func neverControl(t *testing.T) []outcome {
	t.Helper()
	b := neverHere(t, inside)
	b.run = func(change func(*Process), args ...string) (string, error) {
		p := command()
		if change != nil {
			change(&p)
		}
		cmd := exec.CommandContext(t.Context(), inside, args...)
		cmd.Dir = p.Dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	var all []outcome
	for _, row := range neverRows() {
		if row.uncontrolled() {
			all = append(all, outcome{Row: row.name()})
			continue
		}
		all = append(all, b.try(row))
	}
	return all
}

const (
	neverReadme = "README.md"
	neverStart  = "<!-- made by: go test ./host/internal/executor -run TestNever -update -->\n"
	neverEnd    = "<!-- end -->\n"
)

// checkNeverTable compares the table with the one in README.md, or writes it, when every way has been tried.
func checkNeverTable(t *testing.T) {
	t.Helper()
	if t.Failed() {
		return
	}
	text, err := os.ReadFile(neverReadme)
	must(t, err)
	head, rest, ok := strings.Cut(string(text), neverStart)
	old, tail, ok2 := strings.Cut(rest, neverEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", neverReadme)
	}
	now := neverTable()
	if *update {
		must(t, os.WriteFile(neverReadme, []byte(head+neverStart+now+neverEnd+tail), 0o644))
		return
	}
	if diff := cmp.Diff(old, now); diff != "" {
		t.Errorf("the table in %s is not what happens; run the test with -update (-README +now):\n%s", neverReadme, diff)
	}
}

func neverTable() string {
	var b strings.Builder
	b.WriteString("| what | how | " + strings.Join(neverWays(), " | ") + " | test |\n" + strings.Repeat("|---", len(neverWays())+3) + "|\n")
	for _, row := range neverRows() {
		cells := []string{row.item, row.does}
		for _, a := range row.want {
			cells = append(cells, a.String())
		}
		cells = append(cells, "`"+strings.ReplaceAll(row.name(), " ", "_")+"`")
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	return b.String()
}

// Every attack of the table has a name of its own.
func TestNeverNames(t *testing.T) {
	t.Parallel()
	var names []string
	for _, row := range neverRows() {
		names = append(names, row.name())
	}
	slices.Sort(names)
	if unique := slices.Compact(slices.Clone(names)); len(unique) != len(names) {
		t.Errorf("names are not unique: %q", names)
	}
}
