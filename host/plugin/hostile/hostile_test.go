package hostile_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host"
)

var update = flag.Bool("update", false, "write the table of ../README.md")

// TestHostile runs all trials, and then looks at what they left behind and at the table.
func TestHostile(t *testing.T) {
	if _, err := host.Probe(t.Context(), shared.launcher, host.ProbeRequest{WorkDir: t.TempDir()}); err != nil { // keeps what every build shares
		t.Fatal(err)
	}
	before := inventory(t)
	outcomes := make(map[int][]string)
	t.Run("row", func(t *testing.T) {
		done := make(chan func(), len(claims))
		for _, c := range claims {
			t.Run(testName(c), func(t *testing.T) {
				tr := &trial{T: t}
				c.test(tr)
				if !t.Failed() {
					done <- func() { outcomes[c.row] = append(outcomes[c.row], tr.happened...) }
				}
			})
		}
		t.Cleanup(func() {
			close(done)
			for note := range done {
				note()
			}
		})
	})
	noLeaks(t, before)
	if len(outcomes) < len(pitfalls) {
		t.Logf("the table is left alone: %d of %d rows were tried with success", len(outcomes), len(pitfalls))
		return
	}
	checkTable(t, outcomes)
}

func testName(c claim) string {
	return fmt.Sprintf("%02d_%s", c.row, strings.ReplaceAll(strings.ReplaceAll(pitfalls[c.row], ",", ""), " ", "_"))
}

// TestClaims holds that each pitfall has a trial, each trial a pitfall, and each module a trial.
func TestClaims(t *testing.T) {
	t.Parallel()
	claimed, modules := map[int]bool{}, map[string]bool{}
	for _, c := range claims {
		if pitfalls[c.row] == "" {
			t.Errorf("there is no row %d, which a test claims", c.row)
		}
		if claimed[c.row] || c.does == "" || c.test == nil {
			t.Errorf("row %d is claimed twice, or for nothing", c.row)
		}
		claimed[c.row] = true
		modules[c.module] = true
	}
	for row := range pitfalls {
		if !claimed[row] {
			t.Errorf("row %d, %s, is claimed by no test", row, pitfalls[row])
		}
	}
	entries, err := os.ReadDir("testdata")
	must(t, err)
	for _, e := range entries {
		if name := e.Name(); name != "asked" && name != "good" && !modules[name] && e.IsDir() && name != "fuzz" {
			t.Errorf("the module %s is claimed by no test", name)
		}
	}
	for module := range modules {
		if module != "" && !slices.Contains(native, module) && !slices.Contains(sandboxed, module) {
			t.Errorf("the module %s is not built", module)
		}
	}
}

// belongings are what a process can leave behind.
type belongings struct {
	goroutines, children int
	files                []string
}

func inventory(t testing.TB) belongings {
	t.Helper()
	b := belongings{goroutines: runtime.NumGoroutine()}
	fds, err := filepath.Glob("/proc/self/fd/*")
	must(t, err)
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil { // the one that Glob had open is gone
			b.files = append(b.files, to)
		}
	}
	lists, err := filepath.Glob("/proc/self/task/*/children")
	must(t, err)
	for _, list := range lists {
		text, _ := os.ReadFile(list) // the thread may have ended
		b.children += len(strings.Fields(string(text)))
	}
	return b
}

// noLeaks makes sure that nothing is left of the plugins.
func noLeaks(t *testing.T, before belongings) {
	t.Helper()
	failed := t.Failed()
	eventually(t, func() error {
		runtime.GC()
		after := inventory(t)
		if after.goroutines > before.goroutines || len(after.files) > len(before.files) || after.children > before.children {
			return fmt.Errorf("left behind: %+v, before: %+v", after, before)
		}
		return nil
	})
	if t.Failed() && !failed {
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1) // for who has to find it
	}
}

const (
	readme     = "../README.md"
	tableStart = "<!-- made by: go test ./host/plugin/hostile -update -->\n"
	tableEnd   = "<!-- end -->\n"
)

// checkTable compares the table with the one in the README, or writes it.
func checkTable(t *testing.T, outcomes map[int][]string) {
	t.Helper()
	text, err := os.ReadFile(readme)
	must(t, err)
	head, rest, ok := strings.Cut(string(text), tableStart)
	old, tail, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", readme)
	}
	now := table(outcomes)
	if *update {
		must(t, os.WriteFile(readme, []byte(head+tableStart+now+tableEnd+tail), 0o644))
		return
	}
	if diff := cmp.Diff(old, now); diff != "" {
		t.Errorf("the table in %s is not what happens; run the test with -update (-README +now):\n%s", readme, diff)
	}
}

func table(outcomes map[int][]string) string {
	var b strings.Builder
	b.WriteString("| # | pitfall | what the module does | what happens | test |\n|---|---|---|---|---|\n")
	by := map[int]claim{}
	for _, c := range claims {
		by[c.row] = c
	}
	for _, row := range slices.Sorted(maps.Keys(pitfalls)) {
		c := by[row]
		does := c.does
		if c.module != "" {
			does = "`" + c.module + "` " + does
		}
		cells := []string{strconv.Itoa(row), pitfalls[row], does, strings.Join(outcomes[row], "; "), "`TestHostile/row/" + testName(c) + "`"}
		for i, cell := range cells {
			cells[i] = strings.ReplaceAll(cell, "|", `\|`)
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	return b.String()
}
