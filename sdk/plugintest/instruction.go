package plugintest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// Calls tells [Instruction] how the instructions of the handler under test are used.
type Calls struct {
	// Valid are uses that have a plan: at least one, better one for each way to use an instruction.
	Valid []sdk.Call
	// Invalid are uses that are refused with the code [sdk.CodeInvalid].
	Invalid []sdk.Call
	// Host is what the handler may ask; nil means that it asks for nothing.
	Host *Host
}

// Instruction checks that what open makes is a handler as [sdk.InstructionHandler] describes it. open is called once a
// check, and once more where two handlers are to agree.
func Instruction(t *testing.T, open func(t *testing.T) sdk.InstructionHandler, calls Calls) {
	t.Helper()
	if len(calls.Valid) == 0 {
		t.Fatal("plugintest.Instruction: Calls.Valid is empty")
	}
	if calls.Host == nil {
		calls.Host = &Host{}
	}
	for i := range calls.Valid {
		if calls.Valid[i].Workdir == "" || calls.Valid[i].Platform == "" {
			t.Fatal("plugintest.Instruction: a call in Calls.Valid has no Workdir or no Platform, which the host always sets")
		}
	}
	with := func(run func(*testing.T, sdk.InstructionHandler, Calls)) func(*testing.T, sdk.InstructionHandler) {
		return func(t *testing.T, h sdk.InstructionHandler) { run(t, h, calls) }
	}
	runChecks(t, open, []check[sdk.InstructionHandler]{
		{"the instructions are described", with(instructionDescribed)},
		{"the valid calls have plans that can be carried out", with(instructionPlans)},
		{"equal calls have equal plans", func(t *testing.T, h sdk.InstructionHandler) { instructionEqual(t, h, open(t), calls) }},
		{"a call stays as it was", with(instructionKept)},
		{"invalid calls are refused as such", with(instructionInvalid)},
		{"an unknown instruction is refused", with(instructionUnknown)},
		{"concurrent calls have the same plans", with(instructionConcurrent)},
		{"a cancelled call ends", with(instructionCancelled)},
	})
}

var (
	keyword  = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
	flagName = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	octal    = regexp.MustCompile(`^0?[0-7]{3,4}$`)
)

var languageKeywords = []string{
	"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD", "RUN",
	"SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}

var setFields = []string{
	"env", "label", "user", "workdir", "entrypoint", "cmd", "expose", "volume", "healthcheck", "shell", "stopsignal", "onbuild",
}

func instructionDescribed(t *testing.T, h sdk.InstructionHandler, calls Calls) {
	ctx := calls.Host.Context(t.Context())
	described, err := h.Describe(ctx)
	if err != nil {
		t.Fatalf("Describe: %v", err)
	}
	seen := map[string]bool{}
	for _, in := range described {
		switch {
		case !keyword.MatchString(in.Keyword):
			t.Errorf("keyword %q is not of upper-case letters, digits and '_'", in.Keyword)
		case slices.Contains(languageKeywords, in.Keyword):
			t.Errorf("keyword %q is the Dockerfile language's own", in.Keyword)
		case seen[in.Keyword]:
			t.Errorf("keyword %q is described twice", in.Keyword)
		case in.MinArgs < 0 || in.MaxArgs > 0 && in.MaxArgs < in.MinArgs:
			t.Errorf("%s takes %d to %d arguments", in.Keyword, in.MinArgs, in.MaxArgs)
		}
		seen[in.Keyword] = true
		flags := map[string]bool{}
		for _, f := range in.Flags {
			if !flagName.MatchString(f.Name) || flags[f.Name] {
				t.Errorf("%s has a flag %q, which is malformed or there twice", in.Keyword, f.Name)
			}
			if !slices.Contains([]sdk.FlagType{sdk.FlagString, sdk.FlagBool, sdk.FlagList, sdk.FlagNumber}, f.Type) {
				t.Errorf("flag %q of %s is of the unknown type %q", f.Name, in.Keyword, f.Type)
			}
			flags[f.Name] = true
		}
	}
	for _, call := range calls.Valid {
		if !seen[call.Keyword] {
			t.Errorf("%q is not described", call.Keyword)
		}
	}
	if again, err := h.Describe(ctx); err != nil || !reflect.DeepEqual(again, described) {
		t.Errorf("a second Describe differs from the first, error %v", err)
	}
}

func mustPlan(t *testing.T, h sdk.InstructionHandler, calls Calls, call sdk.Call) sdk.Plan {
	t.Helper()
	plan, err := h.Plan(calls.Host.Context(t.Context()), call)
	if err != nil {
		t.Fatalf("Plan of %s: %v", call.Keyword, err)
	}
	return plan
}

func instructionPlans(t *testing.T, h sdk.InstructionHandler, calls Calls) {
	for _, call := range calls.Valid {
		for i, effect := range mustPlan(t, h, calls, call).Effects {
			if err := checkEffect(effect); err != nil {
				t.Errorf("effect %d of %s: %v", i+1, call.Keyword, err)
			}
		}
	}
}

// checkEffect says what is wrong with an effect, nil if nothing is.
func checkEffect(e sdk.Effect) error {
	set := 0
	for v, i := reflect.ValueOf(e), 0; i < v.NumField(); i++ {
		if !v.Field(i).IsNil() {
			set++
		}
	}
	switch {
	case set != 1:
		return fmt.Errorf("%d fields are set, want one", set)
	case e.Exec != nil && (len(e.Exec.Args) == 0 || e.Exec.Args[0] == ""):
		return errors.New("exec has no program")
	case e.Exec != nil && !slices.Contains([]string{"", "default", "host", "none"}, e.Exec.Network):
		return fmt.Errorf("exec has the unknown network %q", e.Exec.Network)
	case e.Copy != nil && (len(e.Copy.Sources) == 0 || e.Copy.Dest == ""):
		return errors.New("copy has no sources or no destination")
	case e.Write != nil:
		return checkPath(e.Write.Path, e.Write.Mode)
	case e.Mkdir != nil:
		return checkPath(e.Mkdir.Path, e.Mkdir.Mode)
	case e.Symlink != nil && e.Symlink.Target == "":
		return errors.New("symlink has no target")
	case e.Symlink != nil:
		return checkPath(e.Symlink.Path, "")
	case e.Remove != nil:
		return checkPath(e.Remove.Path, "")
	case e.Set != nil && (!slices.Contains(setFields, e.Set.Field) || len(e.Set.Values) == 0):
		return fmt.Errorf("set of the field %q, to %d values", e.Set.Field, len(e.Set.Values))
	}
	return nil
}

func checkPath(path, mode string) error {
	if path == "" {
		return errors.New("the path is empty")
	}
	if mode != "" && !octal.MatchString(mode) {
		return fmt.Errorf("mode %q is not octal", mode)
	}
	return nil
}

func instructionEqual(t *testing.T, h, other sdk.InstructionHandler, calls Calls) {
	for _, call := range calls.Valid {
		want := mustPlan(t, other, calls, call)
		for range 5 {
			got := mustPlan(t, h, calls, call)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("the plan of %s is %+v, and was %+v", call.Keyword, got, want)
			}
		}
	}
}

// clone is a copy of a call that shares nothing with it.
func clone(c sdk.Call) sdk.Call {
	c.Flags, c.Args, c.Heredocs = slices.Clone(c.Flags), slices.Clone(c.Args), slices.Clone(c.Heredocs)
	c.Env, c.Shell = slices.Clone(c.Env), slices.Clone(c.Shell)
	return c
}

func instructionKept(t *testing.T, h sdk.InstructionHandler, calls Calls) {
	for _, call := range calls.Valid {
		given := clone(call)
		mustPlan(t, h, calls, given)
		if !reflect.DeepEqual(given, clone(call)) {
			t.Errorf("Plan changed its call from %+v to %+v", call, given)
		}
	}
}

func instructionInvalid(t *testing.T, h sdk.InstructionHandler, calls Calls) {
	for _, call := range calls.Invalid {
		mustRefuse(t, h, calls, call)
	}
}

func instructionUnknown(t *testing.T, h sdk.InstructionHandler, calls Calls) {
	call := calls.Valid[0]
	call.Keyword = "NOBODY_HAS_THIS_ONE"
	if plan, err := h.Plan(calls.Host.Context(t.Context()), call); err == nil {
		t.Errorf("an instruction that the handler does not have is planned: %+v", plan)
	}
}

func mustRefuse(t *testing.T, h sdk.InstructionHandler, calls Calls, call sdk.Call) {
	t.Helper()
	plan, err := h.Plan(calls.Host.Context(t.Context()), call)
	coded, ok := errors.AsType[*sdk.Error](err)
	switch {
	case err == nil:
		t.Errorf("%s with %q is planned: %+v", call.Keyword, call.Args, plan)
	case !ok || coded.Code != sdk.CodeInvalid:
		t.Errorf("%s with %q: error %v has not the code %q", call.Keyword, call.Args, err, sdk.CodeInvalid)
	case len(plan.Effects) > 0:
		t.Errorf("%s with %q has effects beside its error", call.Keyword, call.Args)
	}
}

func instructionConcurrent(t *testing.T, h sdk.InstructionHandler, calls Calls) {
	ctx := calls.Host.Context(t.Context())
	wants := make([]sdk.Plan, len(calls.Valid))
	for i, call := range calls.Valid {
		wants[i] = mustPlan(t, h, calls, call)
	}
	var wg sync.WaitGroup
	for n := range 16 {
		i := n % len(wants)
		wg.Go(func() {
			if got, err := h.Plan(ctx, calls.Valid[i]); err != nil || !reflect.DeepEqual(got, wants[i]) {
				t.Errorf("call %s of %d at once: %+v, alone %+v, error %v", calls.Valid[i].Keyword, 16, got, wants[i], err)
			}
		})
	}
	wg.Wait()
}

func instructionCancelled(t *testing.T, h sdk.InstructionHandler, calls Calls) {
	ctx, cancel := context.WithCancel(calls.Host.Context(t.Context()))
	cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = h.Plan(ctx, calls.Valid[0])
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("a cancelled call does not end within 10 seconds")
	}
}
