package lower

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/plan"
)

const defaultPath = "PATH=" + image.DefaultPath

// Row 5: a slash, or ".", says that the destination is a directory.
func TestDestination(t *testing.T) {
	t.Parallel()
	tests := []struct{ dir, word, want string }{
		{"/w", "dst", "/w/dst"},
		{"/w", "dst/", "/w/dst/"},
		{"/w", "dst/.", "/w/dst/"},
		{"/w", ".", "/w/"},
		{"/w", "./", "/w/"},
		{"/w", "", "/w/"},
		{"/w", "..", "/"},
		{"/w", "../../..", "/"},
		{"/", ".", "/"},
		{"/", "/", "/"},
		{"/w", "/a/../b/", "/b/"},
		{"/w", "/a//b", "/a/b"},
		{"/w", "a/..", "/w"},
	}
	for _, test := range tests {
		if got := destination(test.dir, test.word); got != test.want {
			t.Errorf("destination(%q, %q) = %q, want %q", test.dir, test.word, got, test.want)
		}
	}
}

func TestSourcePath(t *testing.T) {
	t.Parallel()
	tests := []struct {
		word   string
		layout effect.Layout
		want   string
	}{
		{"a/b", "", "a/b"},
		{"/a/b/", "", "a/b"},
		{".", "", "."},
		{"", "", "."},
		{"../../a", "", "a"},
		{"a/../../../b", "", "b"},
		{"/", "", "."},
		{"*.go", "", "*.go"},
		{"a/./b", "", "a/b"},
		{"a/./b/*", effect.LayoutParents, "a/./b/*"},
		{"../a/./../../b", effect.LayoutParents, "a/./b"},
		{"./a/b", effect.LayoutParents, "a/b"},
		{"/./a", effect.LayoutParents, "././a"},
	}
	for _, test := range tests {
		if got := sourcePath(test.word, test.layout); got != test.want {
			t.Errorf("sourcePath(%q, %q) = %q, want %q", test.word, test.layout, got, test.want)
		}
	}
}

// Rows 17 and 19: WORKDIR makes all of the path for the user, and always a layer, but for "/".
func TestWorkdir(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text, dir string
		want            []effect.Mkdir
	}{
		{"absolute", "FROM scratch\nWORKDIR /a/b", "/a/b", []effect.Mkdir{{Path: "/a/b"}}},
		{"relative", "FROM scratch\nWORKDIR a\nWORKDIR b\nWORKDIR ..", "/a", []effect.Mkdir{{Path: "/a"}, {Path: "/a/b"}, {Path: "/a"}}},
		{"again", "FROM scratch\nWORKDIR /a\nWORKDIR /a", "/a", []effect.Mkdir{{Path: "/a"}, {Path: "/a"}}},
		{"root", "FROM scratch\nWORKDIR /", "/", nil},
		{"user", "FROM scratch\nUSER app:grp\nWORKDIR /a", "/a", []effect.Mkdir{{Path: "/a", User: "app:grp"}}},
		{"slash at the end", "FROM scratch\nWORKDIR /a/", "/a/", []effect.Mkdir{{Path: "/a"}}},
		{"unset variable", "FROM scratch\nWORKDIR /a\nWORKDIR $X", "/a", []effect.Mkdir{{Path: "/a"}, {Path: "/a"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := lowerLast(t, given{text: test.text})
			var got []effect.Mkdir
			for _, step := range l.Steps {
				made := false
				for _, e := range step.Effects {
					if m, ok := e.(effect.Mkdir); ok {
						got, made = append(got, m), true
					}
				}
				if (step.Layer == OneLayer) != made {
					t.Errorf("step %q: layer %q", step.Name, step.Layer)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("directories (-want +got):\n%s", diff)
			}
			if got := l.State.Config.WorkingDir; got != test.dir {
				t.Errorf("got WorkingDir %q, want %q", got, test.dir)
			}
		})
	}
}

// Rows 18, 20 and 21: USER is stored as written; who it is, a step that uses it finds out.
func TestUserStaysAsWritten(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"1000", "1000:0", "nobody-has-this-name", "app:app", "0"} {
		l := lowerLast(t, given{text: "FROM debian\nARG U=" + user + "\nUSER $U\nWORKDIR /x\nRUN id"})
		if got := l.State.Config.User; got != user {
			t.Errorf("got User %q, want %q", got, user)
		}
		if got := find[effect.Mkdir](t, l.Steps[2]).User; got != user {
			t.Errorf("got owner %q, want %q", got, user)
		}
		if got := find[effect.Exec](t, l.Steps[3]).User; got != user {
			t.Errorf("got user of the process %q, want %q", got, user)
		}
	}
}

// Row 23: ENTRYPOINT resets CMD unless this very stage set it.
func TestEntrypointResetsCmd(t *testing.T) {
	t.Parallel()
	base := image.Config{Cmd: []string{"base"}}
	tests := []struct {
		name, text string
		want       []string
	}{
		{"of the base", "FROM a\nENTRYPOINT [\"e\"]", nil},
		{"before", "FROM a\nCMD [\"c\"]\nENTRYPOINT [\"e\"]", []string{"c"}},
		{"after", "FROM a\nENTRYPOINT [\"e\"]\nCMD [\"c\"]", []string{"c"}},
		{"of the stage before", "FROM a AS b\nCMD [\"c\"]\nFROM b\nENTRYPOINT [\"e\"]", nil},
		{"of a trigger", "FROM a AS b\nONBUILD CMD [\"c\"]\nFROM b\nENTRYPOINT [\"e\"]", []string{"c"}},
		{"without", "FROM a", []string{"base"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, lowerLast(t, given{text: test.text, base: base}).State.Config.Cmd); diff != "" {
				t.Errorf("Cmd (-want +got):\n%s", diff)
			}
		})
	}
}

// Row 24: SHELL holds for RUN, CMD and ENTRYPOINT, and is inherited. HEALTHCHECK has a shell at run time only.
func TestShell(t *testing.T) {
	t.Parallel()
	l := lowerLast(t, given{text: `FROM a AS b
SHELL ["/bin/bash", "-eo", "pipefail", "-c"]
FROM b
RUN one
CMD two
ENTRYPOINT three
HEALTHCHECK CMD four`})
	shell := []string{"/bin/bash", "-eo", "pipefail", "-c"}
	got := [][]string{find[effect.Exec](t, l.Steps[0]).Args, l.State.Config.Cmd, l.State.Config.Entrypoint, l.State.Config.Healthcheck.Test}
	want := [][]string{append(slices.Clone(shell), "one"), append(slices.Clone(shell), "two"), append(slices.Clone(shell), "three"), {"CMD-SHELL", "four"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("command lines (-want +got):\n%s", diff)
	}
}

// Row 25: triggers run right after FROM, in order; the result has none of them; they may copy from a stage above.
func TestOnbuild(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		base       []string
		want       []string // the last stage's steps
		left       []string
	}{
		{
			"of an image", "FROM a\nRUN own",
			[]string{"RUN one", "ENV X=1", "USER u"},
			[]string{"[2/5] ONBUILD RUN one", "ONBUILD ENV X=1", "ONBUILD USER u", "[3/5] RUN own"},
			nil,
		},
		{
			"of a stage", "FROM scratch AS b\nONBUILD RUN one\nONBUILD WORKDIR /x\nFROM b\nONBUILD RUN later", nil,
			[]string{"[stage-1 1/2] ONBUILD RUN one", "[stage-1 2/2] ONBUILD WORKDIR /x", "ONBUILD RUN later"},
			[]string{"RUN later"},
		},
		{
			"not of the stage before", "FROM scratch AS b\nONBUILD RUN one\nFROM b AS c\nFROM c\nRUN two", nil,
			[]string{"[stage-2 1/1] RUN two"},
			nil,
		},
		{
			"from a stage below the base", "FROM scratch AS b\nONBUILD COPY --from=later x /\nFROM scratch AS later\nFROM b", nil,
			[]string{"[stage-2 1/1] ONBUILD COPY --from=later x /"},
			nil,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := lowerLast(t, given{text: test.text, base: image.Config{OnBuild: test.base}})
			var names []string
			for _, s := range l.Steps {
				names = append(names, s.Name)
				if s.Instruction.Trigger != "" && !strings.HasPrefix(s.Source, s.Instruction.Keyword) {
					t.Errorf("step %q has the source %q", s.Name, s.Source)
				}
			}
			if diff := cmp.Diff(test.want, names); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.left, l.State.Config.OnBuild); diff != "" {
				t.Errorf("OnBuild (-want +got):\n%s", diff)
			}
		})
	}
}

// TestUnplannedTriggers shows that a base's triggers cannot get lost on the way.
func TestUnplannedTriggers(t *testing.T) {
	t.Parallel()
	file, err := dockerfile.Parse("Dockerfile", []byte("FROM a"), dockerfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(file, plan.Options{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}})
	if err != nil {
		t.Fatal(err)
	}
	base := State{Config: image.Config{OnBuild: []string{"RUN x"}}}
	if _, err := Stage(t.Context(), p, p.Target(), base, Outside{}); err == nil {
		t.Error("no error, although the triggers were not planned")
	}
	if p, err = p.WithTriggers(map[string][]string{"stage-0": base.Config.OnBuild}); err != nil {
		t.Fatal(err)
	}
	l, err := Stage(t.Context(), p, p.Target(), base, Outside{})
	if err != nil || len(l.Steps) != 1 {
		t.Errorf("got %v and error %v, want one step", l, err)
	}
}

// Row 26.
func TestHealthcheckNone(t *testing.T) {
	t.Parallel()
	base := image.Config{Healthcheck: &image.Healthcheck{Test: []string{"CMD", "x"}, Retries: 3}}
	got := lowerLast(t, given{text: "FROM a\nHEALTHCHECK NONE", base: base}).State.Config.Healthcheck
	if diff := cmp.Diff(&image.Healthcheck{Test: []string{"NONE"}}, got); diff != "" {
		t.Errorf("Healthcheck (-want +got):\n%s", diff)
	}
}

// Row 27: PATH is added where the base has none; scratch starts in "/".
func TestStart(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(image.Config{Env: []string{defaultPath}, WorkingDir: "/"}, lowerLast(t, given{text: "FROM scratch"}).State.Config); diff != "" {
		t.Errorf("scratch (-want +got):\n%s", diff)
	}
	got := lowerLast(t, given{text: "FROM a", base: image.Config{Env: []string{"A=1"}}}).State.Config
	if diff := cmp.Diff(image.Config{Env: []string{"A=1", defaultPath}}, got); diff != "" {
		t.Errorf("without PATH (-want +got):\n%s", diff)
	}
	got = lowerLast(t, given{text: "FROM a", base: image.Config{Env: []string{"PATH=/x"}, WorkingDir: "rel"}}).State.Config
	if diff := cmp.Diff(image.Config{Env: []string{"PATH=/x"}, WorkingDir: "/rel"}, got); diff != "" {
		t.Errorf("with PATH (-want +got):\n%s", diff)
	}
}

// Row 28: a name that ENV sets anew keeps its place.
func TestEnvKeepsPosition(t *testing.T) {
	t.Parallel()
	l := lowerLast(t, given{text: "FROM a\nENV B=2 D=4\nENV A=3", base: image.Config{Env: []string{"A=1", "B=1", "PATH=/x", "C=1"}}})
	if diff := cmp.Diff([]string{"A=3", "B=2", "PATH=/x", "C=1", "D=4"}, l.State.Config.Env); diff != "" {
		t.Errorf("Env (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"A=1", "B=2", "PATH=/x", "C=1", "D=4"}, l.Steps[0].Config.Env); diff != "" {
		t.Errorf("Env of the first step, after the second (-want +got):\n%s", diff)
	}
}

// TestEnvSeesOldValues: one ENV is expanded with what was before it, while the words of one ARG see each other.
func TestEnvSeesOldValues(t *testing.T) {
	t.Parallel()
	l := lowerLast(t, given{text: "FROM scratch\nENV A=1\nENV A=2 B=$A\nARG C=1 D=$C"})
	if diff := cmp.Diff([]string{defaultPath, "A=2", "B=1"}, l.State.Config.Env); diff != "" {
		t.Errorf("Env (-want +got):\n%s", diff)
	}
	if got, want := l.Steps[2].CreatedBy, "ARG C=1 D=1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Row 29: RUN sees the image's ENV and the declared arguments, the later one winning, and undeclared proxies unkeyed.
func TestRunEnvironment(t *testing.T) {
	t.Parallel()
	args := map[string]string{"G": "built", "no_proxy": "local", "UNDECLARED": "x", "EMPTY": "", "SOURCE_DATE_EPOCH": "1"}
	tests := []struct {
		name, text   string
		env, unkeyed []string
		history      string
	}{
		{"env after arg", "FROM scratch\nARG A=1\nENV A=2\nRUN x", []string{defaultPath, "A=2"}, nil, "RUN |1 A=2 /bin/sh -c x # buildkit"},
		{"arg after env", "FROM scratch\nENV A=1\nARG A=2\nRUN x", []string{defaultPath, "A=2"}, nil, "RUN |1 A=2 /bin/sh -c x # buildkit"},
		{"declared order", "FROM scratch\nARG B=1\nARG A=2\nRUN x", []string{defaultPath, "B=1", "A=2"}, nil, "RUN |2 B=1 A=2 /bin/sh -c x # buildkit"},
		{"no value", "FROM scratch\nARG A\nRUN x", []string{defaultPath}, nil, "RUN |1 A= /bin/sh -c x # buildkit"},
		{"build argument", "FROM scratch\nARG G=default\nRUN x", []string{defaultPath, "G=built"}, nil, "RUN |1 G=built /bin/sh -c x # buildkit"},
		{"empty build argument", "FROM scratch\nARG EMPTY=default\nRUN x", []string{defaultPath, "EMPTY="}, nil, "RUN |1 EMPTY= /bin/sh -c x # buildkit"},
		{"global not imported", "ARG X=1\nFROM scratch\nRUN x", []string{defaultPath}, nil, "RUN /bin/sh -c x # buildkit"},
		{"global imported", "ARG X=1\nFROM scratch\nARG X\nRUN x", []string{defaultPath, "X=1"}, nil, "RUN |1 X=1 /bin/sh -c x # buildkit"},
		{"global beaten by a default", "ARG X=1\nFROM scratch\nARG X=2\nRUN x", []string{defaultPath, "X=2"}, nil, "RUN |1 X=2 /bin/sh -c x # buildkit"},
		{"platform", "FROM scratch\nARG TARGETARCH\nRUN x", []string{defaultPath, "TARGETARCH=amd64"}, nil, "RUN |1 TARGETARCH=amd64 /bin/sh -c x # buildkit"},
		{"inherited", "FROM scratch AS b\nARG A=1\nFROM b\nRUN x", []string{"A=1", defaultPath}, nil, "RUN |1 A=1 /bin/sh -c x # buildkit"},
		{"for BuildKit", "FROM scratch\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN x", []string{defaultPath}, nil, "RUN |1 BUILDKIT_SBOM_SCAN_STAGE=true /bin/sh -c x # buildkit"},
		{"inherited beside env", "FROM scratch AS b\nENV A=1\nARG A=2\nFROM b\nRUN x", []string{defaultPath, "A=1"}, nil, "RUN |1 A=1 /bin/sh -c x # buildkit"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			step := last(t, given{text: test.text, buildArgs: args})
			exec := find[effect.Exec](t, step)
			if diff := cmp.Diff(test.env, exec.Env); diff != "" {
				t.Errorf("Env (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"NO_PROXY=local", "no_proxy=local"}, exec.Unkeyed); diff != "" {
				t.Errorf("Unkeyed (-want +got):\n%s", diff)
			}
			if step.CreatedBy != test.history {
				t.Errorf("got history %q, want %q", step.CreatedBy, test.history)
			}
		})
	}
}

// Row 30: each step that makes a layer has a history entry, and only ONBUILD has none.
func TestHistoryMatchesLayers(t *testing.T) {
	t.Parallel()
	text, want := "FROM debian\n", 0
	for _, line := range []string{
		"ENV A=1", "ARG B", "LABEL a=b", "CMD x", "ENTRYPOINT x", "USER u", "EXPOSE 1", "VOLUME /v", "STOPSIGNAL 9",
		"SHELL [\"x\"]", "HEALTHCHECK NONE", "MAINTAINER m", "ONBUILD RUN x", "WORKDIR /",
	} {
		text += line + "\n"
	}
	for _, line := range []string{"RUN x", "COPY a b", "ADD a b", "WORKDIR /w"} {
		text += line + "\n"
		want++
	}
	got := 0
	for _, s := range lowerLast(t, given{text: text}).Steps {
		files := slices.ContainsFunc(s.Effects, func(e effect.Effect) bool { _, isSet := e.(effect.Set); return !isSet })
		if files != (s.Layer == OneLayer) {
			t.Errorf("step %q: changes files %v, layer %q", s.Name, files, s.Layer)
		}
		if (s.CreatedBy == "") != (s.Instruction.Keyword == "ONBUILD") {
			t.Errorf("step %q has the history %q", s.Name, s.CreatedBy)
		}
		if s.Layer == OneLayer {
			got++
		}
	}
	if got != want {
		t.Errorf("got %d layers, want %d", got, want)
	}
}

// Row 31: what the base says stays, but for what is said anew.
func TestBaseConfigIsKept(t *testing.T) {
	t.Parallel()
	base := image.Config{
		User: "u", Env: []string{"PATH=/x"}, Cmd: []string{"c"}, Entrypoint: []string{"e"}, Labels: map[string]string{"a": "1", "b": "1"},
		ExposedPorts: map[string]struct{}{"1/tcp": {}}, Volumes: map[string]struct{}{"/v": {}}, StopSignal: "SIGINT", ArgsEscaped: true,
		Shell: []string{"/s"}, OnBuild: []string{"LABEL c=1"}, WorkingDir: "/w",
	}
	before, err := json.Marshal(base)
	if err != nil {
		t.Fatal(err)
	}
	want := base.Clone()
	want.Labels = map[string]string{"a": "1", "b": "2", "c": "1"}
	want.ExposedPorts = map[string]struct{}{"1/tcp": {}, "2/tcp": {}}
	want.OnBuild = nil
	got := lowerLast(t, given{text: "FROM a\nLABEL b=2\nEXPOSE 2", base: base}).State.Config
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if after, _ := json.Marshal(base); string(after) != string(before) {
		t.Errorf("the base's config was changed: %s", after)
	}
}
