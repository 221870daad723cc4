package plan

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/sdk"
)

func parse(t *testing.T, text string) *dockerfile.File {
	t.Helper()
	f, err := dockerfile.Parse("Dockerfile", []byte(text), dockerfile.Options{
		Instructions: []sdk.Instruction{{Keyword: "STEPS", Flags: []sdk.Flag{{Name: "from"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func options() Options {
	return Options{
		Platform:      ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"},
		BuildPlatform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
	}
}

// place is a location in a word.
func place(l effect.Location) string {
	switch {
	case l.Stage != "":
		return "stage:" + l.Stage
	case l.Context != "":
		return "context:" + l.Context
	case l.Image != "":
		return strings.TrimPrefix(l.Image, "docker.io/library/")
	}
	return "scratch"
}

// outline is a line for each stage: its ID, its base, what it copies from.
func outline(p *Plan) []string {
	var out []string
	for _, s := range p.Stages {
		line := s.ID + " < " + place(s.Base)
		for _, in := range append(s.Triggers, s.Instructions...) {
			for _, from := range fromFlags(in) {
				line += fmt.Sprintf(" %s=%s", from, place(s.Sources[from]))
			}
		}
		if s.Replaced {
			line += " replaced"
		}
		out = append(out, line)
	}
	return out
}

func TestNew(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		change     func(*Options)
		want       []string
	}{
		{"single", "FROM debian", nil, []string{"stage-0 < debian:latest"}},
		{"tag", "FROM debian:12", nil, []string{"stage-0 < debian:12"}},
		{"digest", "FROM debian@sha256:" + strings.Repeat("a", 64), nil, []string{"stage-0 < debian@sha256:" + strings.Repeat("a", 64)}},
		{"registry", "FROM localhost:5000/a/b", nil, []string{"stage-0 < localhost:5000/a/b:latest"}},
		{"scratch", "FROM scratch", nil, []string{"stage-0 < scratch"}},
		{"unused stage", "FROM a AS b\nFROM c AS d\nFROM b", nil, []string{"b < a:latest", "stage-2 < stage:b"}},
		{"letter case", "FROM a AS Build\nFROM build\nCOPY --from=buILD x /", nil, []string{"build < a:latest", "stage-1 < stage:build buILD=stage:build"}},
		{"target", "FROM a AS b\nFROM c AS d\nFROM e", func(o *Options) { o.Target = "D" }, []string{"d < c:latest"}},
		{
			"copy by name and index", "FROM a AS b\nFROM c\nFROM d\nCOPY --from=1 x /\nCOPY --from=b x /", nil,
			[]string{"b < a:latest", "stage-1 < c:latest", "stage-2 < d:latest 1=stage:stage-1 b=stage:b"},
		},
		{
			"copy from an image", "FROM a\nCOPY --from=nginx x /\nCOPY --from=nginx:1@sha256:" + strings.Repeat("b", 64) + " y /", nil,
			[]string{"stage-0 < a:latest nginx=nginx:latest nginx:1@sha256:" + strings.Repeat("b", 64) + "=nginx:1@sha256:" + strings.Repeat("b", 64)},
		},
		{"instruction of a plugin", "FROM a AS b\nFROM c\nSTEPS --from=0", nil, []string{"b < a:latest", "stage-1 < c:latest 0=stage:b"}},
		{"mount from a stage", "FROM a AS b\nFROM c\nRUN --mount=from=b,target=/x y", nil, []string{"b < a:latest", "stage-1 < c:latest b=stage:b"}},
		{
			"chain", "FROM a AS b\nFROM b AS c\nFROM scratch AS d\nCOPY --from=c x /\nFROM scratch\nCOPY --from=d x /", nil,
			[]string{"b < a:latest", "c < stage:b", "d < scratch c=stage:c", "stage-3 < scratch d=stage:d"},
		},
		{"same name twice", "FROM a AS b\nFROM b AS b\nFROM b", nil, []string{"b < a:latest", "b#1 < stage:b", "stage-2 < stage:b#1"}},
		{"name of a number", "FROM a\nFROM b AS stage-0\nCOPY --from=0 x /", nil, []string{"stage-0 < a:latest", "stage-0#1 < b:latest 0=stage:stage-0"}},
		{"unused stage copies from below", "FROM a AS b\nCOPY --from=d x /\nFROM c AS d", nil, []string{"d < c:latest"}},
		{"argument", "ARG V=1\nARG R=reg.example.com/a:$V\nFROM $R", nil, []string{"stage-0 < reg.example.com/a:1"}},
		{"build argument", "ARG V=1\nFROM a:${V}", func(o *Options) { o.BuildArgs = map[string]string{"V": "2"} }, []string{"stage-0 < a:2"}},
		{"undeclared build argument", "FROM a:${V:-none}", func(o *Options) { o.BuildArgs = map[string]string{"V": "2"} }, []string{"stage-0 < a:none"}},
		{"empty build argument", "ARG V=1\nFROM a:${V:-empty}", func(o *Options) { o.BuildArgs = map[string]string{"V": ""} }, []string{"stage-0 < a:empty"}},
		{"stage by argument", "ARG W=y\nFROM a AS x\nFROM b AS y\nFROM $W", nil, []string{"y < b:latest", "stage-2 < stage:y"}},
		{"platform arguments", "FROM a:$TARGETOS-$TARGETARCH-$TARGETVARIANT-$BUILDARCH-$TARGETSTAGE", nil, []string{"stage-0 < a:linux-arm64-v8-amd64-default"}},
		{"platform argument overridden", "FROM a:$TARGETARCH", func(o *Options) { o.BuildArgs = map[string]string{"TARGETARCH": "x"} }, []string{"stage-0 < a:x"}},
		{
			"context for an image", "FROM debian\nCOPY --from=docker.io/library/nginx:latest x /", func(o *Options) { o.Contexts = []string{"debian", "nginx"} },
			[]string{"stage-0 < context:debian docker.io/library/nginx:latest=context:nginx"},
		},
		{"context for a tag alone", "FROM debian:12", func(o *Options) { o.Contexts = []string{"debian"} }, []string{"stage-0 < debian:12"}},
		{
			"context for a stage", "FROM a AS lib\nCOPY --from=gone x /\nFROM lib\nCOPY --from=lib x /", func(o *Options) { o.Contexts = []string{"lib"} },
			[]string{"lib < context:lib replaced", "stage-1 < stage:lib lib=stage:lib"},
		},
		{"context for nothing else", "FROM scratch\nCOPY --from=src x /", func(o *Options) { o.Contexts = []string{"src"} }, []string{"stage-0 < scratch src=context:src"}},
		{"triggers of a stage", "FROM a AS b\nONBUILD COPY --from=d x /\nFROM c AS d\nFROM b", nil, []string{"b < a:latest", "d < c:latest", "stage-2 < stage:b d=stage:d"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			opt := options()
			if test.change != nil {
				test.change(&opt)
			}
			p, err := New(parse(t, test.text), opt)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, outline(p)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			seen := map[string]bool{}
			for _, s := range p.Stages {
				for _, id := range s.Needs {
					if !seen[id] {
						t.Errorf("stage %s needs %s, which comes later", s.ID, id)
					}
				}
				seen[s.ID] = true
			}
		})
	}
}

func TestLabels(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"single", "FROM a", ""},
		{"single with a name", "FROM a AS b", ""},
		{"image to copy from", "FROM a\nCOPY --from=nginx x /", "stage-0"},
		{"mount", "FROM a\nRUN --mount=type=cache,target=/x y", "stage-0"},
		{"unused stage", "FROM a\nFROM b", "stage-1"},
		{"name", "FROM a\nFROM b AS c", "c"},
	}
	for _, test := range tests {
		p, err := New(parse(t, test.text), options())
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Target().Label; got != test.want {
			t.Errorf("%s: got label %q, want %q", test.name, got, test.want)
		}
	}
}

func TestPlatforms(t *testing.T) {
	t.Parallel()
	p, err := New(parse(t, `FROM --platform=$BUILDPLATFORM golang AS build
FROM build AS more
FROM --platform=linux/386 tiny AS small
FROM debian
COPY --from=more x /
COPY --from=small x /
COPY --from=golang x /`), options())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range p.Stages {
		got = append(got, s.ID+" "+platforms.Format(s.Platform))
	}
	if diff := cmp.Diff([]string{"build linux/amd64", "more linux/amd64", "small linux/386", "stage-3 linux/arm64/v8"}, got); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	got = nil
	for _, i := range p.Images {
		got = append(got, fmt.Sprintf("%s %s line %d %s", i.Ref, platforms.Format(i.Platform), i.Instruction.Position.First, i.Word))
	}
	want := []string{
		"docker.io/library/golang:latest linux/amd64 line 1 golang",
		"docker.io/library/tiny:latest linux/386 line 3 tiny",
		"docker.io/library/debian:latest linux/arm64/v8 line 4 debian",
		"docker.io/library/golang:latest linux/arm64/v8 line 7 golang",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

func TestImageHint(t *testing.T) {
	t.Parallel()
	p, err := New(parse(t, "FROM a AS build\nFROM scratch\nCOPY --from=biuld x /"), options())
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Images[0]; got.Ref != "docker.io/library/biuld:latest" || got.Hint != "did you mean the stage build?" {
		t.Errorf("got %+v", got)
	}
}

// TestWithTriggers: a base's triggers reach stages that were pruned, and those have bases with triggers in turn.
func TestWithTriggers(t *testing.T) {
	t.Parallel()
	p, err := New(parse(t, "FROM toolbase AS tools\nFROM x AS unused\nFROM deepbase AS deep\nFROM base AS app"), options())
	if err != nil {
		t.Fatal(err)
	}
	if p.Target().TriggersKnown() {
		t.Error("triggers are known before they were told")
	}
	if p, err = p.WithTriggers(map[string][]string{"app": {"COPY --from=tools x /", "ARG EXTRA"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"tools < toolbase:latest", "app < base:latest tools=stage:tools"}, outline(p)); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if p.Stage("tools").TriggersKnown() || !p.Stage("app").TriggersKnown() || len(p.Target().Triggers) != 2 {
		t.Errorf("tools %v, app %v, %d triggers", p.Stage("tools").TriggersKnown(), p.Stage("app").TriggersKnown(), len(p.Target().Triggers))
	}
	if p, err = p.WithTriggers(map[string][]string{"tools": nil}); err != nil {
		t.Fatal(err)
	}
	if !p.Stage("tools").TriggersKnown() || len(p.Target().Triggers) != 2 {
		t.Error("what was told before is forgotten")
	}
	if _, err = p.WithTriggers(map[string][]string{"tools": {"COPY --from=app x /"}}); err == nil {
		t.Error("a trigger that copies from a stage below was accepted")
	}
}

func TestUnusedBuildArgs(t *testing.T) {
	t.Parallel()
	opt := options()
	opt.Target = "last"
	opt.BuildArgs = map[string]string{
		"GLOBAL": "", "USED": "", "ELSEWHERE": "", "TRIGGER": "", "HTTP_PROXY": "", "no_proxy": "", "SOURCE_DATE_EPOCH": "1", "BUILDKIT_INLINE_CACHE": "1",
		"TARGETARCH": "x", "UNSUED": "", "OTHER": "",
	}
	p, err := New(parse(t, "ARG GLOBAL\nFROM a AS b\nONBUILD ARG TRIGGER\nARG ELSEWHERE\nFROM b\nFROM c AS last\nARG USED"), opt)
	if err != nil {
		t.Fatal(err)
	}
	want := []dockerfile.Warning{{Text: "One or more build-args [OTHER UNSUED (did you mean USED?)] were not consumed"}}
	if diff := cmp.Diff(want, p.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text   string
		change       func(*Options)
		line, column int
		want, hint   string
	}{
		{"target", "FROM a AS build\nFROM b AS test", func(o *Options) { o.Target = "tets" }, 0, 0, `no target stage "tets"`, "did you mean test?"},
		{"far target", "FROM a AS build\nFROM b AS test", func(o *Options) { o.Target = "production" }, 0, 0, `no target stage "production"`, "the stages are build, test"},
		{"target by index", "FROM a AS build\nFROM b", func(o *Options) { o.Target = "0" }, 0, 0, `no target stage "0"`, "build"},
		{"target without names", "FROM a", func(o *Options) { o.Target = "x" }, 0, 0, `no target stage "x"`, "no stage has a name"},
		{"reference", "FROM a\nFROM \\\n  b:!", nil, 3, 3, "invalid reference format", ""},
		{"capitals", "FROM a AS build\nFROM Biuld", nil, 2, 6, "must be lowercase", "did you mean the stage build?"},
		{"unset", "FROM $IMAGE", nil, 1, 6, `the base "$IMAGE" is empty`, "declare it before the first FROM: ARG IMAGE=…"},
		{"unset, declared", "ARG IMAGE\nFROM $IMAGE", nil, 2, 6, `the base "$IMAGE" is empty`, "--build-arg IMAGE="},
		{"unset, declared in a stage", "FROM a\nARG IMAGE=x\nFROM $IMAGE", nil, 3, 6, "is empty", "put ARG IMAGE there"},
		{"misspelt", "ARG IMAGE=a\nFROM $IMGAE", nil, 2, 6, "is empty", "did you mean IMAGE?"},
		{"unset tag", "FROM a:$TAG", nil, 1, 6, `the base "a:$TAG" is "a:"`, "ARG TAG="},
		{"bad variable", "FROM ${A", nil, 1, 6, `expand "${A"`, ""},
		{"bad global default", "ARG A=1 \\\n B=${C:?needed}\nFROM a", nil, 2, 4, "C: needed", ""},
		{"platform", "FROM --platform=linux/x/y/z a", nil, 1, 17, `platform "linux/x/y/z"`, "linux/amd64"},
		{"empty platform", "FROM --platform=$X a", nil, 1, 17, `the platform "$X" is empty`, "ARG X="},
		{"windows", "FROM --platform=windows/amd64 a", nil, 1, 17, "only Linux", ""},
		{"copy from itself", "FROM a AS b\nCOPY --from=b x /", nil, 2, 13, "a stage cannot copy from itself", ""},
		{"copy from itself by index", "FROM a\nCOPY --from=0 x /", nil, 2, 13, "a stage cannot copy from itself", ""},
		{"copy from below", "FROM a AS b\nCOPY --from=d x /\nFROM c AS d\nFROM b", nil, 2, 13, "defined below, at line 3", "move stage d above"},
		{"stage index", "FROM a\nCOPY --from=7 x /", nil, 2, 13, "there is no stage 7", "this file has 1"},
		{"negative index", "FROM a\nCOPY --from=-1 x /", nil, 2, 13, "there is no stage -1", ""},
		{"stage index of a plugin's instruction", "FROM a\nSTEPS --from=7", nil, 2, 14, "there is no stage 7", "this file has 1"},
		{"index of a mount", "FROM a\nFROM b\nRUN --mount=from=0,target=/x y", nil, 3, 18, "a mount is from a stage by its name", ""},
		{"variable", "FROM a\nCOPY --from=$X x /", nil, 2, 13, "variables are not expanded in --from", "FROM the image"},
		{"no stage", "FROM a AS build\nFROM b\nCOPY --from=Biuld x /", nil, 3, 13, "is no stage", "did you mean the stage build?"},
		{"scratch", "FROM a\nCOPY --from=scratch x /", nil, 2, 13, "scratch has no files", ""},
		{"context name", "FROM a", func(o *Options) { o.Contexts = []string{"Not Good"} }, 0, 0, `build context "Not Good"`, ""},
		{"reserved context", "FROM a", func(o *Options) { o.Contexts = []string{"scratch"} }, 0, 0, `build context "scratch": the name is reserved`, ""},
		{"frontend", "FROM a", func(o *Options) { o.BuildArgs = map[string]string{"BUILDKIT_SYNTAX": "x/y"} }, 0, 0, "BUILDKIT_SYNTAX", ""},
		{"argument without a name", "FROM a", func(o *Options) { o.BuildArgs = map[string]string{"": "x"} }, 0, 0, "has no name", ""},
		{"trigger", "FROM a AS b\nONBUILD COPY --from=9 x /\nFROM b", nil, 3, 0, `ONBUILD trigger "COPY --from=9 x /" of the base: --from=9`, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			opt := options()
			if test.change != nil {
				test.change(&opt)
			}
			_, err := New(parse(t, test.text), opt)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got error %v, want %q in it", err, test.want)
			}
			e, ok := errors.AsType[*dockerfile.Error](err)
			if !ok {
				if test.line != 0 {
					t.Fatalf("error %v has no line", err)
				}
				return
			}
			if e.Line != test.line || e.Column != test.column {
				t.Errorf("got position %d:%d, want %d:%d: %v", e.Line, e.Column, test.line, test.column, err)
			}
			if !strings.Contains(e.Hint, test.hint) {
				t.Errorf("got hint %q, want %q", e.Hint, test.hint)
			}
		})
	}
}
