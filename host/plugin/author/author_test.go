package author_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/host/plugin/author"
	"github.com/trowel-build/trowel/sdk"
)

// suiteOf makes the process of this test run the suite of the plugin that it names.
const suiteOf = "TROWEL_TEST_SUITE_OF"

func TestMain(m *testing.M) {
	if file := os.Getenv(suiteOf); file != "" {
		s, err := author.OpenSubject(file)
		if err != nil {
			panic(err)
		}
		author.RunSuite(s, "")
	}
	os.Exit(m.Run())
}

func suiteCommand(file string) func(context.Context) (*exec.Cmd, error) {
	return func(ctx context.Context) (*exec.Cmd, error) {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), suiteOf+"="+file)
		return cmd, nil
	}
}

// plant starts a project in a new directory.
func plant(t *testing.T, kind sdk.Kind, language author.Language) *author.Project {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "my-"+string(kind))
	if _, err := author.New(author.NewRequest{Kind: kind, Language: language, Dir: dir, SDK: os.DirFS("../../..")}); err != nil {
		t.Fatal(err)
	}
	p, err := author.OpenProject(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func build(t *testing.T, p *author.Project) author.Built {
	t.Helper()
	built, err := author.Build(t.Context(), author.BuildRequest{Project: p, Target: author.Wasm})
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// conformance tests what was built and returns what was found.
func conformance(t *testing.T, file string) *author.Report {
	t.Helper()
	s, err := author.OpenSubject(file)
	if err != nil {
		t.Fatal(err)
	}
	report, err := author.Test(t.Context(), author.TestRequest{
		Subject: s, Suite: suiteCommand(file), Observe: func(r author.Result) { t.Log(strings.TrimRight(r.Text(), "\n")) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// What `trowel plugin new` makes has nothing wrong with it.
func TestNewPasses(t *testing.T) { // not parallel: memory is measured
	for kind, least := range map[sdk.Kind]int{sdk.KindCache: 45, sdk.KindCredential: 15, sdk.KindInstruction: 11} {
		t.Run(string(kind), func(t *testing.T) {
			built := build(t, plant(t, kind, author.Go))
			report := conformance(t, built.File)
			if report.Failed() > 0 {
				t.Errorf("%d of %d checks failed", report.Failed(), len(report.Results))
			}
			if len(report.Results) < least {
				t.Errorf("%d checks, want %d at least", len(report.Results), least)
			}
		})
	}
}
