package author

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// TestRequest says what is tested.
type TestRequest struct {
	Subject *Subject
	// CompileDir keeps the compiled module; empty means in memory alone.
	CompileDir string
	// Suite makes the command that runs [RunSuite] in a process of its own.
	Suite func(ctx context.Context) (*exec.Cmd, error)
	// Only says which checks are run, by their names; nil means all.
	Only *regexp.Regexp
	// Observe is told of each result as it comes.
	Observe func(Result)
	// Log takes what the plugin says.
	Log func(level sdk.Level, text string)
}

// tester tests one subject.
type tester struct {
	harness *harness
	request TestRequest
	benches benches
	report  *Report
}

// check is one thing that a plugin has to do.
type check struct {
	name string
	run  func(ctx context.Context, t *tester, f *findings) error
}

// Test runs every check that there is for a plugin of its kind.
func Test(ctx context.Context, r TestRequest) (*Report, error) {
	start := time.Now()
	h, err := newHarness(ctx, r.Subject, r.CompileDir)
	if err != nil {
		return nil, err
	}
	t := &tester{harness: h, request: r, report: &Report{}}
	err = t.all(ctx)
	t.report.Took = time.Since(start)
	return t.report, errors.Join(err, h.close(context.WithoutCancel(ctx)))
}

func (t *tester) all(ctx context.Context) error {
	checks := commonChecks()
	switch t.harness.subject.Kind {
	case sdk.KindCache:
		checks = append(checks, cacheChecks()...)
	case sdk.KindCredential:
		checks = append(checks, credentialChecks()...)
	case sdk.KindInstruction:
		checks = append(checks, instructionChecks()...)
	}
	for i, c := range checks {
		t.check(ctx, c)
		if i == 0 && t.report.Failed() > 0 {
			return nil // what does not start does nothing else
		}
	}
	if t.wants("suite:") {
		if err := t.suite(ctx); err != nil {
			return err
		}
	}
	cases, err := t.harness.subject.loadCases()
	if err != nil {
		return err
	}
	for _, c := range cases {
		t.check(ctx, check{"case: " + c.Name, c.check})
	}
	return ctx.Err()
}

// wants says whether a check of that name is to be run.
func (t *tester) wants(name string) bool {
	return t.request.Only == nil || t.request.Only.MatchString(name)
}

func (t *tester) check(ctx context.Context, c check) {
	if !t.wants(c.name) {
		return
	}
	start := time.Now()
	f := &findings{}
	err := c.run(ctx, t, f)
	if errors.Is(err, errNothing) || ctx.Err() != nil {
		return
	}
	if err != nil {
		f.problem("%v", err)
	}
	t.tell(Result{Name: c.name, Took: time.Since(start), Problems: f.problems, Note: f.note})
}

func (t *tester) tell(r Result) {
	t.report.Results = append(t.report.Results, r)
	if t.request.Observe != nil {
		t.request.Observe(r)
	}
}

func (t *tester) log(level sdk.Level, text string) {
	if t.request.Log != nil {
		t.request.Log(level, text)
	}
}

// with sets a bench up for a check.
func with(s setting, do func(ctx context.Context, b *bench, f *findings) error) func(context.Context, *tester, *findings) error {
	return func(ctx context.Context, t *tester, f *findings) (err error) {
		b, err := t.open(ctx, s)
		if err != nil {
			return fmt.Errorf("start the plugin: %w", err)
		}
		defer func() { err = errors.Join(err, b.close(context.WithoutCancel(ctx))) }()
		return do(ctx, b, f)
	}
}
