package author

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugintest"
)

// suiteName is the one test that [RunSuite] has; what the suite checks are its subtests.
const suiteName = "conformance"

// hasSuite says whether sdk/plugintest has a suite for a kind.
func hasSuite(kind sdk.Kind) bool { return kind == sdk.KindCache || kind == sdk.KindCredential }

// RunSuite runs the suite of sdk/plugintest that belongs to the subject's kind, and ends the process. The suites need a
// [testing.T], which there is only in a test; so a process of its own becomes one, and [Test] reads what it prints.
func RunSuite(s *Subject, compileDir string) {
	testing.Init()
	for name, value := range map[string]string{"test.v": "test2json", "test.timeout": "5m"} {
		if err := flag.Set(name, value); err != nil {
			panic("author: " + err.Error()) // the testing package has these flags
		}
	}
	os.Args = os.Args[:1] // which the testing package reads
	everything := func(string, string) (bool, error) { return true, nil }
	testing.Main(everything, []testing.InternalTest{{Name: suiteName, F: func(t *testing.T) { conform(t, s, compileDir) }}}, nil, nil)
}

// conform runs the suite against a subject.
func conform(t *testing.T, s *Subject, compileDir string) {
	h, err := newHarness(t.Context(), s, compileDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	all := &tester{harness: h}
	open := func(t *testing.T) *bench {
		b, err := all.open(t.Context(), setting{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		return b
	}
	if s.Kind == sdk.KindCredential {
		conformCredential(t, s, open)
		return
	}
	if open(t).cache().ReadOnly() {
		t.Skip("a cache that takes no blobs: there is nothing that it could be asked to give back")
	}
	plugintest.Cache(t, func(t *testing.T) sdk.Cache { return open(t).cache() })
}

func conformCredential(t *testing.T, s *Subject, open func(*testing.T) *bench) {
	if s.Test.Known == "" {
		t.Fatal(`plugin.toml does not say which registry it answers for: known = "registry.example.com" below [test]`)
	}
	registries := plugintest.Registries{
		Known:   sdk.CredentialRequest{Registry: s.Test.Known, Repository: "team/app", Actions: []string{"pull"}},
		Unknown: s.Test.Unknown,
	}
	plugintest.CredentialProvider(t, func(t *testing.T) sdk.CredentialProvider { return open(t).run.client.Credential() }, registries)
}

// suite runs [RunSuite] in a process of its own, and makes results of what it prints.
func (t *tester) suite(ctx context.Context) error {
	if !hasSuite(t.harness.subject.Kind) || t.request.Suite == nil {
		return nil
	}
	cmd, err := t.request.Suite(ctx)
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run the suite: %w", err)
	}
	before := t.report.Failed()
	readErr := t.readSuite(stdout)
	err = cmd.Wait()
	if _, failed := errors.AsType[*exec.ExitError](err); failed && t.report.Failed() > before {
		err = nil // the results say so
	}
	if err = errors.Join(readErr, err); err != nil {
		return fmt.Errorf("run the suite: %w\n%s", err, stderr.String())
	}
	return nil
}

// suiteLog is what is known of a test that has not ended.
type suiteLog struct {
	lines []string
	inner bool // has subtests
}

// readSuite reads the output of a test as `go test -v=test2json` has it: a line that begins with a byte 0x16 says of what
// the others are.
func (t *tester) readSuite(r io.Reader) error {
	logs := map[string]*suiteLog{}
	current := ""
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line := s.Text()
		marked, isMark := strings.CutPrefix(strings.TrimLeft(line, " "), "\x16")
		words := strings.Fields(marked)
		switch {
		case isMark && strings.HasPrefix(marked, "=== ") && len(words) >= 3:
			current = words[2]
			if logs[current] == nil {
				logs[current] = &suiteLog{}
			}
			if parent, _, found := cutLast(current); found && logs[parent] != nil {
				logs[parent].inner = true
			}
		case isMark && strings.HasPrefix(marked, "--- ") && len(words) >= 4:
			t.suiteResult(words[1], words[2], words[3], logs)
		case logs[current] != nil && !isMark:
			logs[current].lines = append(logs[current].lines, strings.TrimSpace(line))
		}
	}
	return s.Err()
}

func cutLast(name string) (parent, base string, found bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

// suiteResult tells of a test that ended, unless its subtests say it all.
func (t *tester) suiteResult(verdict, name, took string, logs map[string]*suiteLog) {
	log := logs[name]
	if log == nil || log.inner && (len(log.lines) == 0 || !strings.HasPrefix(verdict, "FAIL")) {
		return
	}
	_, shown, found := strings.Cut(name, "/")
	if !found {
		shown = "all"
	}
	r := Result{Name: "suite: " + strings.ReplaceAll(shown, "_", " ")}
	r.Took, _ = time.ParseDuration(strings.Trim(took, "()")) // as the testing package prints it
	switch strings.TrimSuffix(verdict, ":") {
	case "FAIL":
		if r.Problems = log.lines; len(r.Problems) == 0 {
			r.Problems = []string{"it failed without saying why"}
		}
	case "SKIP":
		r.Note = strings.Join(log.lines, " ")
	}
	t.tell(r)
}
