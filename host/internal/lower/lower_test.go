package lower

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/plan"
)

var update = flag.Bool("update", false, "write what is found as what is wanted")

// given is a Dockerfile and the world around it.
type given struct {
	text      string
	target    string
	buildArgs map[string]string
	contexts  []string
	base      image.Config // of every image
}

// lowerAll plans and lowers all stages that the target needs.
func lowerAll(t *testing.T, g given) ([]*Lowered, *plan.Plan, error) {
	t.Helper()
	file, err := dockerfile.Parse("Dockerfile", []byte(g.text), dockerfile.Options{})
	if err != nil {
		return nil, nil, err
	}
	p, err := plan.New(file, plan.Options{
		Target: g.target, BuildArgs: g.buildArgs, Contexts: g.contexts,
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
	})
	if err != nil {
		return nil, nil, err
	}
	for again := true; again; {
		again = false
		triggers := map[string][]string{}
		for _, s := range p.Stages {
			if !s.TriggersKnown() {
				again = true
				triggers[s.ID] = g.base.OnBuild
			}
		}
		if p, err = p.WithTriggers(triggers); err != nil {
			return nil, nil, err
		}
	}
	states := map[string]State{}
	var out []*Lowered
	for _, s := range p.Stages {
		base := From(nil)
		if s.Base.Image != "" {
			base = From(&image.Base{Image: image.Image{Config: g.base}})
		}
		if s.Base.Stage != "" {
			base = states[s.Base.Stage]
		}
		l, err := Stage(t.Context(), p, s, base, Outside{})
		if err != nil {
			return nil, nil, err
		}
		states[s.ID] = l.State
		out = append(out, l)
	}
	return out, p, nil
}

// lowerLast is the target of a Dockerfile, lowered.
func lowerLast(t *testing.T, g given) *Lowered {
	t.Helper()
	all, _, err := lowerAll(t, g)
	if err != nil {
		t.Fatal(err)
	}
	return all[len(all)-1]
}

// last is the last step of a Dockerfile's target.
func last(t *testing.T, g given) Step {
	t.Helper()
	l := lowerLast(t, g)
	return l.Steps[len(l.Steps)-1]
}

// find is the effect of a type in a step.
func find[E effect.Effect](t *testing.T, s Step) E {
	t.Helper()
	for _, e := range s.Effects {
		if e, ok := e.(E); ok {
			return e
		}
	}
	t.Fatalf("step %q has no %T", s.Name, *new(E))
	panic("unreachable")
}

// dump writes all that lowering found in a form for reading.
func dump(t *testing.T, all []*Lowered, p *plan.Plan) string {
	t.Helper()
	var b strings.Builder
	text := func(v any) string {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(b.String())
	}
	for i, l := range all {
		s := p.Stages[i]
		fmt.Fprintf(&b, "stage %s base %s needs %q\n", s.ID, text(s.Base), s.Needs)
		if l.BaseName != "" {
			fmt.Fprintf(&b, "%s\n", l.BaseName)
		}
		for _, step := range l.Steps {
			at := step.Instruction.Position
			fmt.Fprintf(&b, "\n%s\n  lines %d-%d %s\n  history %q\n", step.Name, at.First, at.Last, step.Layer, step.CreatedBy)
			for _, e := range step.Effects {
				fmt.Fprintf(&b, "  %s %s\n", strings.TrimPrefix(fmt.Sprintf("%T", e), "effect."), text(e))
			}
		}
		for _, w := range l.Warnings {
			fmt.Fprintf(&b, "\nwarning line %d: %s\n", w.Position.First, w.Text)
		}
		fmt.Fprintf(&b, "\nconfig %s author %q\n\n", text(l.State.Config), l.State.Author)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	t.Parallel()
	world := map[string]given{
		"args":    {buildArgs: map[string]string{"VERSION": "2", "HTTP_PROXY": "http://proxy:3128", "https_proxy": "http://proxy:3129"}},
		"onbuild": {base: image.Config{OnBuild: []string{"COPY --from=tools /bin/t /bin/", "RUN t", "ENV BUILT=1"}, Env: []string{"A=1"}}},
		"base": {base: image.Config{
			Env: []string{"PATH=/bin", "LANG=C", "EDITOR=vi"}, Cmd: []string{"sh"}, Entrypoint: []string{"/init"}, User: "app", WorkingDir: "/srv",
			Labels: map[string]string{"from": "base"}, Shell: []string{"/bin/bash", "-c"},
		}},
	}
	files, err := filepath.Glob("testdata/*.dockerfile")
	if err != nil || len(files) == 0 {
		t.Fatal("no Dockerfiles", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			g := world[strings.TrimSuffix(filepath.Base(name), ".dockerfile")]
			g.text = string(text)
			all, p, err := lowerAll(t, g)
			if err != nil {
				t.Fatal(err)
			}
			got := dump(t, all, p)
			golden := strings.TrimSuffix(name, ".dockerfile") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("lowered (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPure lowers the same plan twice: the parsed instructions must be as they were.
func TestPure(t *testing.T) {
	t.Parallel()
	file, err := dockerfile.Parse("Dockerfile", []byte(strings.Join([]string{
		"FROM scratch", "ARG A=1", "ENV B=$A C=${B:-x}", "LABEL l=$A", "COPY --chown=$A $B /$A", "COPY <<EOF /x", "$A", "EOF",
		"EXPOSE $A 80", "VOLUME /$A", "USER $A", "WORKDIR $B", "STOPSIGNAL $A", "RUN echo $A", "ONBUILD RUN $A",
	}, "\n")), dockerfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	once := func(value string) string {
		p, err := plan.New(file, plan.Options{BuildArgs: map[string]string{"A": value}, Platform: ocispec.Platform{OS: "linux", Architecture: "arm64"}})
		if err != nil {
			t.Fatal(err)
		}
		l, err := Stage(t.Context(), p, p.Target(), From(nil), Outside{})
		if err != nil {
			t.Fatal(err)
		}
		return dump(t, []*Lowered{l}, p)
	}
	first := once("11")
	if second := once("12"); second == first {
		t.Error("another argument changes nothing")
	}
	if diff := cmp.Diff(first, once("11")); diff != "" {
		t.Errorf("lowering changed the file (-first +again):\n%s", diff)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text   string
		line, column int
		want, hint   string
	}{
		{"mount type", "FROM a\nRUN --mount=type=cach,target=/x \\\n make", 2, 5, `RUN: --mount: unsupported mount type "cach" (did you mean cache?)`, ""},
		{"mount key", "FROM a\nRUN --mount=type=cache,taget=/x make", 2, 5, "RUN: --mount: unexpected key 'taget' in 'taget=/x' (did you mean target?)", ""},
		{"mount on root", "FROM a\nRUN --mount=target=/ make", 2, 20, "RUN: --mount: nothing can be mounted on the root directory: name a target below it", ""},
		{"mount on working directory", "FROM a\nRUN --mount=target=. make", 2, 20, "RUN: --mount: nothing can be mounted on the root directory: name a target below it", ""},
		{"mount variable", "FROM a\nRUN --mount=target=${x? make", 2, 20, `RUN: expand "${x?": syntax error: missing '}'`, ""},
		{"secret without anything", "FROM a\nRUN --mount=type=secret make", 2, 5, "RUN: --mount: invalid secret mount. one of source, target required", ""},
		{"secret variable", "FROM a\nRUN --mount=type=secret,id=x,env=A=B make", 2, 5, "RUN: --mount: env=A=B is no name of a variable", ""},
		{"tmpfs from", "FROM b AS s\nFROM a\nRUN --mount=type=tmpfs,target=/x,from=s make", 3, 31, "RUN: --mount: a mount of type tmpfs is empty: it has neither from nor source", ""},
		{"ssh source", "FROM a\nRUN --mount=type=ssh,source=/x make", 2, 5, "RUN: --mount: a mount of type ssh has no source: name the agent with id", ""},
		{"mode of bind", "FROM a\nRUN --mount=target=/x,mode=0700 make", 2, 5, `RUN: --mount: mode not allowed for "bind" type mounts`, ""},
		{"mode of a mount", "FROM a\nRUN --mount=type=ssh,mode=10000 make", 2, 5, "RUN: --mount: mode=10000 is not an octal mode up to 07777", ""},
		{"empty exec", "FROM a\nRUN []", 2, 0, "nothing to run", ""},
		{"script named as a path", "FROM a\nRUN <<a/b\n#!/bin/sh\na/b", 2, 7, "cannot be a path", ""},
		{"heredoc named as a path", "FROM a\nCOPY <<../b/c /x\nx\n../b/c", 2, 8, "cannot be a path", ""},
		{"add unknown protocol", "FROM a\nADD ftp://example.com/x.tar /x", 2, 5, "nothing can be fetched from ftp://", ""},
		{"add file", "FROM a\nADD file:///srv/x.git /x", 2, 5, "nothing can be fetched from file://", ""},
		{"add control character", "FROM a\nADD https://example.com/a%0ab /x", 2, 5, "is no name of a file", ""},
		{"add git query", "FROM a\nADD https://example.com/x.git?rev=1 /x", 2, 5, `unknown query "rev"`, ""},
		{"add git option", "FROM a\nADD https://example.com/x.git#--upload-pack=touch /x", 2, 5, "is no ref", ""},
		{"add git commits", "FROM a\nADD --checksum=abc https://example.com/x.git?commit=def /x", 2, 20, "is not the commit", ""},
		{"add git contradiction", "FROM a\nADD --keep-git-dir=false https://example.com/x.git?keep-git-dir=1 /x", 2, 26, "contradicts", ""},
		{"checksum of several", "FROM a\nADD --checksum=sha256:1 http://example.com/x http://example.com/y /x/", 2, 5, "there are several", "an ADD for each"},
		{"checksum of another kind", "FROM a\nADD --checksum=sha512:" + strings.Repeat("a", 128) + " http://example.com/x /x", 2, 152, "only sha256", ""},
		{"bad checksum", "FROM a\nADD --checksum=sha256:1 http://example.com/x /x", 2, 25, "invalid checksum digest", ""},
		{"copy variable url", "FROM a\nENV U=http://example.com\nCOPY a \\\n  $U/x /x", 3, 0, "a URL cannot be copied", ""},
		{"copy url", "FROM a\nCOPY https://example.com/x /x", 2, 6, "a URL cannot be copied", "use ADD"},
		{"checksum", "FROM a\nADD --checksum=sha256:1 x /x", 2, 5, "--checksum is for", ""},
		{"mode", "FROM a\nCOPY --chmod=0999 x /x", 2, 6, "--chmod=0999 is neither", ""},
		{"mode too large", "FROM a\nCOPY --chmod=10000 x /x", 2, 6, "--chmod=10000 is neither", ""},
		{"symbolic mode", "FROM a\nCOPY --chmod=q+x x /x", 2, 6, "--chmod=q+x is neither", ""},
		{"link by name", "FROM a\nCOPY --link --chown=app x /x", 2, 13, "names cannot be looked up with --link", "1000:1000"},
		{"signal", "FROM a\nSTOPSIGNAL SIGTREM", 2, 12, `unknown signal "SIGTREM"`, "did you mean SIGTERM?"},
		{"signal zero", "FROM a\nSTOPSIGNAL 0", 2, 12, `unknown signal "0"`, ""},
		{"port", "FROM a\nEXPOSE 80 70000", 2, 11, "no number from 0 to 65535", "8000-8010/tcp"},
		{"port range", "FROM a\nEXPOSE 90-80", 2, 8, "ends before it starts", ""},
		{"protocol", "FROM a\nEXPOSE 80/tpc", 2, 8, `unknown protocol "tpc"`, ""},
		{"bad substitution", "FROM a\nENV A=1 \\\n B=${A!}", 3, 4, `expand "${A!}"`, ""},
		{"required variable", "FROM a\nWORKDIR ${D:?give a directory}", 2, 9, "give a directory", ""},
		{"empty name", "FROM a\nENV $X=1", 2, 0, "name of a variable is empty", ""},
		{"empty volume", "FROM a\nVOLUME /a $X", 2, 11, "path of a volume is empty", ""},
		{
			"trigger", "FROM a AS b\nONBUILD RUN --mount=type=ssh,source=x x\nFROM b\nENV A=1", 3, 0,
			`ONBUILD trigger "RUN --mount=type=ssh,source=x x" of the base: --mount: a mount of type ssh has no source: name the agent with id`, "",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := lowerAll(t, given{text: test.text})
			e, ok := errors.AsType[*dockerfile.Error](err)
			if !ok {
				t.Fatalf("got error %v, want a *dockerfile.Error", err)
			}
			if e.Line != test.line || e.Column != test.column {
				t.Errorf("got position %d:%d, want %d:%d: %v", e.Line, e.Column, test.line, test.column, err)
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(e.Hint, test.hint) {
				t.Errorf("got %q, hint %q; want %q, hint %q", err, e.Hint, test.want, test.hint)
			}
		})
	}
}
