package author

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// instructionChecks are those of instruction handlers: there is no suite for them, because what an instruction does is the
// author's.
func instructionChecks() []check {
	return []check{
		{"describes its instructions", with(setting{}, describes)},
		{"bad uses of its instructions are refused, and crash nothing", with(setting{}, badUses)},
		{"equal calls have equal plans in fresh instances", plansTwice},
	}
}

func describes(ctx context.Context, b *bench, f *findings) error {
	instructions, err := b.run.client.Instruction().Describe(ctx)
	if err != nil {
		return err
	}
	if len(instructions) == 0 {
		f.problem("it has no instructions")
	}
	seen := map[string]bool{}
	for _, i := range instructions {
		if seen[i.Keyword] {
			f.problem("it describes %q twice", i.Keyword)
		}
		seen[i.Keyword] = true
		for _, problem := range wrongInstruction(i) {
			f.problem("instruction %q: %s", i.Keyword, problem)
		}
	}
	return nil
}

// standard are the instructions of the Dockerfile language, which no plugin may have.
func standard() []string {
	return strings.Fields("ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR")
}

func wrongInstruction(i sdk.Instruction) (problems []string) {
	const upper, lower, digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789"
	switch {
	case strings.Trim(i.Keyword, upper+digits+"_") != "" || i.Keyword == "" || !strings.Contains(upper, i.Keyword[:1]):
		problems = append(problems, "a keyword is upper-case letters, digits and '_', a letter first")
	case slices.Contains(standard(), i.Keyword):
		problems = append(problems, "the Dockerfile language has an instruction of that name")
	}
	if strings.ContainsAny(i.Summary+i.Usage, "\n\r\x00") {
		problems = append(problems, "summary and usage are one line each")
	}
	if i.MinArgs < 0 || i.MaxArgs > 0 && i.MaxArgs < i.MinArgs {
		problems = append(problems, fmt.Sprintf("it takes at least %d and at most %d arguments", i.MinArgs, i.MaxArgs))
	}
	types := []sdk.FlagType{sdk.FlagString, sdk.FlagBool, sdk.FlagList, sdk.FlagNumber}
	for _, flag := range i.Flags {
		if flag.Name == "" || strings.Trim(flag.Name, lower+upper+digits+"-_") != "" || flag.Name[0] == '-' {
			problems = append(problems, fmt.Sprintf("the flag %q has a name that cannot be written", flag.Name))
		}
		if !slices.Contains(types, flag.Type) {
			problems = append(problems, fmt.Sprintf("the flag %q has the unknown type %q", flag.Name, flag.Type))
		}
	}
	return problems
}

// badUses are calls that no Dockerfile makes, and some that a hostile one makes. An error is fine, and so is a plan: what it
// must not do is end.
func badUses(ctx context.Context, b *bench, f *findings) error {
	instructions, err := b.run.client.Instruction().Describe(ctx)
	if err != nil {
		return err
	}
	ctx = service.WithFiles(ctx, noFiles{})
	handler := b.run.client.Instruction()
	many := slices.Repeat([]string{"a"}, 10_000)
	for _, i := range append(instructions, sdk.Instruction{Keyword: "NOT_ITS_OWN"}) {
		for name, call := range map[string]sdk.Call{
			"without arguments":        {},
			"with empty arguments":     {Args: []string{"", "", ""}},
			"with 10,000 arguments":    {Args: many},
			"with an argument of 1 MB": {Args: []string{strings.Repeat("x", 1_000_000), "/b"}},
			"with strange characters":  {Args: []string{"\x00\x1b[2J\u202e", "../../../etc/passwd\n"}},
			"with flags of no value":   {Args: []string{"a", "b"}, Flags: []sdk.FlagValue{{Name: ""}, {Name: "no-such-flag"}}},
			"with a heredoc":           {Args: []string{"EOF", "b"}, Heredocs: []sdk.Heredoc{{Name: "EOF", Content: "\"}\\"}}},
		} {
			call.Keyword, call.Workdir, call.Platform = i.Keyword, "/", "linux/amd64"
			_, err := handler.Plan(ctx, call)
			if crashed(err) {
				f.problem("%s %s: %v", i.Keyword, name, err)
			}
			if err == nil && i.Keyword == "NOT_ITS_OWN" && len(instructions) > 1 {
				f.problem("it has a plan for %s, which it does not describe", i.Keyword)
			}
		}
	}
	return nil
}

// noFiles is a build context and a stage without files.
type noFiles struct{}

func (noFiles) missing(name string) error {
	return &sdk.Error{Code: sdk.CodeNotFound, Message: fmt.Sprintf("%q: not found", name)}
}

// ReadFile finds nothing.
func (n noFiles) ReadFile(_ context.Context, _ sdk.Root, name string) ([]byte, error) {
	return nil, n.missing(name)
}

// Stat finds nothing.
func (n noFiles) Stat(_ context.Context, _ sdk.Root, name string) (sdk.FileInfo, error) {
	return sdk.FileInfo{}, n.missing(name)
}

// ReadDir finds nothing.
func (n noFiles) ReadDir(_ context.Context, _ sdk.Root, name string) ([]sdk.FileInfo, error) {
	return nil, n.missing(name)
}

// plansTwice runs each call in two instances that know nothing of each other, and compares the bytes.
func plansTwice(ctx context.Context, t *tester, f *findings) error {
	if t.harness.subject.native() {
		f.note = "a process is never believed to be deterministic"
		return nil
	}
	requests, err := t.planRequests(ctx)
	if err != nil {
		return err
	}
	first, err := t.plans(ctx, requests)
	if err != nil {
		return err
	}
	second, err := t.plans(ctx, requests)
	if err != nil {
		return err
	}
	f.note = fmt.Sprintf("%d calls", len(requests))
	for i := range requests {
		if !bytes.Equal(first[i], second[i]) {
			f.problem("the call %s has two plans:\n%s\n%s", show(requests[i].request), show(first[i]), show(second[i]))
		}
	}
	return nil
}

// planRequest is a call, and what it is made with.
type planRequest struct {
	config  map[string]any
	request []byte
	files   sdk.FileSystem
}

// planRequests are the author's cases, and a use of each instruction.
func (t *tester) planRequests(ctx context.Context) ([]planRequest, error) {
	var requests []planRequest
	cases, err := t.harness.subject.loadCases()
	if err != nil {
		return nil, err
	}
	for _, c := range cases {
		if c.op == abi.OpPlan {
			requests = append(requests, planRequest{c.configuration(t.harness.subject), c.request, c.files()})
		}
	}
	err = with(setting{}, func(ctx context.Context, b *bench, _ *findings) error {
		instructions, err := b.run.client.Instruction().Describe(ctx)
		for _, i := range instructions {
			call := sdk.Call{
				Keyword: i.Keyword, Args: slices.Repeat([]string{"a"}, max(i.MinArgs, 1)), Workdir: "/", Platform: "linux/amd64",
				Env: []string{"PATH=/usr/bin:/bin", "B=2", "A=1", "C=3"},
			}
			requests = append(requests, planRequest{t.harness.subject.Test.Config, abi.AppendCall(nil, &call), noFiles{}})
		}
		return err
	})(ctx, t, nil)
	return requests, err
}

// plans runs each call in a fresh instance and returns the envelopes.
func (t *tester) plans(ctx context.Context, requests []planRequest) ([][]byte, error) {
	var envelopes [][]byte
	for _, q := range requests {
		grants, getenv := testGrants(t.harness.subject, "")
		services, err := service.New(service.Options{
			Plugin: t.harness.subject.Name, Kind: t.harness.subject.Kind, Purity: transport.Deterministic, Grants: grants, Getenv: getenv,
		})
		if err != nil {
			return nil, err
		}
		r, err := t.harness.start(ctx, conditions{config: q.config, services: services, purity: transport.Deterministic})
		if err != nil {
			return nil, err
		}
		envelope, err := r.conn.Call(service.WithFiles(ctx, q.files), abi.OpPlan, q.request, nil)
		services.Close()
		if err = errors.Join(err, r.close(ctx)); err != nil {
			return nil, err
		}
		envelopes = append(envelopes, envelope)
	}
	return envelopes, nil
}
