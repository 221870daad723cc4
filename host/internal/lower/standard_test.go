package lower

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/patternmatcher"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/plan"
	"github.com/trowel-build/trowel/sdk"
)

func TestStandard(t *testing.T) {
	t.Parallel()
	app := sdk.Call{User: "app", Workdir: "/"}
	root := sdk.Call{Workdir: "/w"}
	write := func(path, content, mode string) []sdk.Effect {
		return []sdk.Effect{{Write: &sdk.Write{Path: path, Content: []byte(content), Mode: mode}}}
	}
	tests := map[string]struct {
		call    sdk.Call
		effects []sdk.Effect
		want    []string
	}{
		"files are root's business": {
			app,
			[]sdk.Effect{{Remove: &sdk.Remove{Path: "/x"}}},
			[]string{"USER root", `RUN ["/bin/sh", "-c", "rm -rf '/x'"]`, "USER 'app'"},
		},
		"root with another group": {
			sdk.Call{User: "root:adm"},
			[]sdk.Effect{{Remove: &sdk.Remove{Path: "/x"}}},
			[]string{"USER root", `RUN ["/bin/sh", "-c", "rm -rf '/x'"]`, "USER 'root:adm'"},
		},
		"the user that was set comes back": {
			sdk.Call{Workdir: "/"},
			[]sdk.Effect{
				{Set: &sdk.Set{Field: "user", Values: []string{"app"}}},
				{Set: &sdk.Set{Field: "workdir", Values: []string{"w"}}},
				{Exec: &sdk.Exec{Args: []string{"id"}, User: "root", Dir: "/d"}},
			},
			[]string{"USER 'app'", "WORKDIR 'w'", "USER 'root'", "WORKDIR '/d'", `RUN ["id"]`, "USER 'app'", "WORKDIR '/w'"},
		},
		"the user that was not set comes back as root": {
			root,
			[]sdk.Effect{{Exec: &sdk.Exec{Args: []string{"id"}, User: "app"}}},
			[]string{"USER 'app'", `RUN ["id"]`, "USER 'root'"},
		},
		"a directory": {
			root,
			[]sdk.Effect{{Mkdir: &sdk.Mkdir{Path: "-d"}}},
			[]string{`RUN ["/bin/sh", "-c", "set -e; for d in '/w' '/w/-d'; do [ -d \"$d\" ] || { mkdir \"$d\"; chmod 00755 \"$d\"; }; done"]`},
		},
		"a directory with an owner and a mode": {
			root,
			[]sdk.Effect{{Mkdir: &sdk.Mkdir{Path: "/d", Mode: "2750", Owner: "app"}}},
			[]string{`RUN ["/bin/sh", "-c", "set -e; [ -d '/d' ] || { mkdir '/d'; chown 'app:' '/d'; chmod 02750 '/d'; }"]`},
		},
		"a line break in a name": {
			root,
			[]sdk.Effect{{Remove: &sdk.Remove{Path: "/a\nb"}}, {Symlink: &sdk.Symlink{Path: "/l", Target: "-a\nb"}}},
			[]string{`RUN ["/bin/sh", "-c", "rm -rf '/a\nb'"]`, `RUN ["/bin/sh", "-c", "set -e; rm -f '/l'; ln -s -- '-a\nb' '/l'; chown -h 0:0 '/l'"]`},
		},
		"a file has the name of its heredoc, so that a link there is replaced": {
			root, write("/etc/x", "EOF\n", "0755"), []string{"COPY --chmod=u=rwx,g=rx,o=rx <<'x' '/etc/'\nEOF\nx"},
		},
		"a file with a line that is its name": {
			root, write("/x", "x\n", ""),
			[]string{`RUN ["/bin/sh", "-c", "set -e; rm -f '/x'; printf 'x\\012' > '/x'; chown '0:0' '/x'; chmod 0644 '/x'"]`},
		},
		"a file without the last line break": {
			root, write("/n", "-n", ""),
			[]string{`RUN ["/bin/sh", "-c", "set -e; rm -f '/n'; printf '\\055n' > '/n'; chown '0:0' '/n'; chmod 0644 '/n'"]`},
		},
		"COPY splits at blanks": {
			root, write("/a b", "x\n", ""),
			[]string{`RUN ["/bin/sh", "-c", "set -e; rm -f '/a b'; printf 'x\\012' > '/a b'; chown '0:0' '/a b'; chmod 0644 '/a b'"]`},
		},
		"an empty file": {root, write("e", "", ""), []string{"COPY <<'e' './'\ne"}},
		"a link that COPY --link cannot have": {
			root, []sdk.Effect{{Copy: &sdk.Copy{Sources: []string{"a"}, Dest: "/b", Owner: "app", Link: true}}}, []string{`COPY --chown='app' ["a", "/b"]`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &Custom{Call: tt.call, Plan: sdk.Plan{Effects: tt.effects}}
			got, err := c.Standard('\\')
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestStandardWords holds that what is written reads as what was meant, whatever the escape character is.
func TestStandardWords(t *testing.T) {
	t.Parallel()
	for _, word := range []string{`plain`, `a b`, `c\*`, "`t`", `it's "so"`, `$HOME ${x:-y}`, `back\`, "tick`", `\$a`, "`$a", `#x`, `--y`, ``} {
		for _, escape := range "\\`" {
			c := &Custom{Plan: sdk.Plan{Effects: []sdk.Effect{
				{Copy: &sdk.Copy{Sources: []string{"s" + word}, Dest: "/" + word, Owner: "o" + word, Exclude: []string{word}}},
				{Set: &sdk.Set{Field: "env", Values: []string{"A=" + word}}},
				{Set: &sdk.Set{Field: "label", Values: []string{"l" + strings.ReplaceAll(word, "=", "") + "=" + word}}},
				{Set: &sdk.Set{Field: "user", Values: []string{"u" + word}}},
				{Set: &sdk.Set{Field: "volume", Values: []string{"/" + word}}},
				{Set: &sdk.Set{Field: "cmd", Values: []string{word}}},
			}}}
			lines, err := c.Standard(escape)
			if err != nil {
				t.Errorf("%q: %v", word, err)
				continue
			}
			text := strings.Join(append([]string{"# escape=" + string(escape), "FROM scratch"}, lines...), "\n")
			l := lowerLast(t, given{text: text})
			copied := find[effect.Copy](t, l.Steps[0])
			config := l.State.Config
			volume := ""
			for v := range config.Volumes {
				volume = v
			}
			got := []string{
				copied.Sources[0].Paths[0], copied.Dest, copied.Owner, copied.Exclude[0], config.Env[len(config.Env)-1],
				config.Labels["l"+word], config.User, volume, config.Cmd[0],
			}
			want := []string{"s" + word, "/" + word, "o" + word, word, "A=" + word, word, "u" + word, "/" + word, word}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%q with %c (-want +got):\n%s\n%s", word, escape, diff, text)
			}
		}
	}
}

// TestStandardExclude holds that a pattern that was escaped means what it meant.
func TestStandardExclude(t *testing.T) {
	t.Parallel()
	c := &Custom{Plan: sdk.Plan{Effects: []sdk.Effect{{Copy: &sdk.Copy{Sources: []string{"."}, Dest: "/", Exclude: []string{`c\*`}}}}}}
	lines, err := c.Standard('\\')
	if err != nil {
		t.Fatal(err)
	}
	copied := find[effect.Copy](t, last(t, given{text: "FROM scratch\n" + lines[0]}))
	m, err := patternmatcher.New(copied.Exclude)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"c*": true, "cat": false} {
		if got, err := m.MatchesOrParentMatches(name); err != nil || got != want {
			t.Errorf("%s: excluded %v, %v", name, got, err)
		}
	}
}

// TestStandardRefused holds that what a Dockerfile cannot say is an error, not another Dockerfile.
func TestStandardRefused(t *testing.T) {
	t.Parallel()
	set := func(field, value string) sdk.Effect {
		return sdk.Effect{Set: &sdk.Set{Field: field, Values: []string{value}}}
	}
	for name, tt := range map[string]struct {
		x    sdk.Effect
		want string
	}{
		"ENV":             {set("env", "A=b\nUSER root"), `ENV "A" is "b\nUSER root", which has a line break`},
		"a name in ENV":   {set("env", "A\nUSER=b"), `the name in ENV is "A\nUSER", which has a line break`},
		"LABEL":           {set("label", "a=b\n"), `LABEL "a" is "b\n", which has a line break`},
		"USER":            {set("user", "a\nb"), `USER is "a\nb", which has a line break`},
		"WORKDIR":         {set("workdir", "/a\nb"), `WORKDIR is "/a\nb", which has a line break`},
		"EXPOSE":          {set("expose", "80\n81"), `EXPOSE is "80\n81", which has a line break`},
		"ONBUILD":         {set("onbuild", "RUN a \\\n b"), `ONBUILD is "RUN a \\\n b"`},
		"exec's user":     {sdk.Effect{Exec: &sdk.Exec{Args: []string{"id"}, User: "a\nb"}}, "USER"},
		"exec's dir":      {sdk.Effect{Exec: &sdk.Exec{Args: []string{"id"}, Dir: "/a\nb"}}, "WORKDIR"},
		"no UTF-8":        {sdk.Effect{Remove: &sdk.Remove{Path: "/a\xff"}}, `not UTF-8`},
		"a line too long": {set("env", "A="+strings.Repeat("x", 70_000)), "a line of 70008 bytes"},
		"--exclude":       {sdk.Effect{Copy: &sdk.Copy{Sources: []string{"a"}, Dest: "/b", Exclude: []string{"é"}}}, `--exclude is "é"`},
	} {
		c := &Custom{Plan: sdk.Plan{Effects: []sdk.Effect{{Remove: &sdk.Remove{Path: "/x"}}, tt.x}}}
		lines, err := c.Standard('\\')
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "effect 2 of the plugin cannot be written") {
			t.Errorf("%s: %v\n%s", name, err, lines)
		}
	}
	trigger := "RUN <<E\ntrue\nE"
	lines, err := (&Custom{Plan: sdk.Plan{Effects: []sdk.Effect{set("onbuild", trigger)}}}).Standard('\\')
	if diff := cmp.Diff([]string{"ONBUILD " + trigger}, lines); err != nil || diff != "" {
		t.Errorf("a trigger with a heredoc: %v\n%s", err, diff)
	}
}

// TestStandardLines holds that no line is longer than a Dockerfile may have.
func TestStandardLines(t *testing.T) {
	t.Parallel()
	for name, content := range map[string][]byte{"binary": make([]byte, 100_000), "one line": []byte(strings.Repeat("x", 100_000) + "\n")} {
		c := &Custom{Plan: sdk.Plan{Effects: []sdk.Effect{{Write: &sdk.Write{Path: "/x", Content: content}}}}}
		lines, err := c.Standard('\\')
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(strings.Join(lines, "\n"), "> '/x'"); n != 10 {
			t.Errorf("%s: it is written in %d parts", name, n)
		}
		for _, line := range lines {
			if len(line) > 65_000 || !strings.HasPrefix(line, "RUN ") {
				t.Errorf("%s: a line of %d bytes: %.40s", name, len(line), line)
			}
		}
	}
}

// effects plans what it is asked for.
type effects []sdk.Effect

func TestCustomRefused(t *testing.T) {
	t.Parallel()
	set := func(field, value string) effects {
		return effects{{Set: &sdk.Set{Field: field, Values: []string{value}}}}
	}
	for name, tt := range map[string]struct {
		effects effects
		want    string
	}{
		"unpack from elsewhere":      {effects{{Copy: &sdk.Copy{Sources: []string{"a"}, Dest: "/", From: "other", Unpack: true}}}, "ADD, which unpacks"},
		"unpack with parents":        {effects{{Copy: &sdk.Copy{Sources: []string{"a"}, Dest: "/", Parents: true, Unpack: true}}}, "ADD, which unpacks"},
		"no field":                   {effects{{}}, "0 things are set"},
		"two fields":                 {effects{{Remove: &sdk.Remove{Path: "/a"}, Mkdir: &sdk.Mkdir{Path: "/b"}}}, "2 things are set"},
		"no trigger":                 {set("onbuild", "GARBAGE x"), `unknown instruction "GARBAGE"`},
		"an empty trigger":           {set("onbuild", " "), "is empty"},
		"a trigger of its own":       {set("onbuild", "steps x"), "an instruction of a plugin cannot be an ONBUILD trigger"},
		"a trigger with a bad flag":  {set("onbuild", "COPY --nothing a /b"), "unknown flag"},
		"a trigger of a trigger":     {set("onbuild", "ONBUILD RUN true"), "ONBUILD"},
		"two triggers":               {set("onbuild", "RUN a\nRUN b"), "2 instructions"},
		"a trigger that is no start": {set("onbuild", "FROM scratch"), "FROM"},
	} {
		_, err := lowerCustom(t, tt.effects)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "Dockerfile:2: STEPS: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := lowerCustom(t, set("onbuild", "RUN true")); err != nil {
		t.Errorf("a trigger: %v", err)
	}
}

// Plan is [Planner]'s.
func (e effects) Plan(context.Context, sdk.Call, Before) (sdk.Plan, error) {
	return sdk.Plan{Effects: e}, nil
}

// lowerCustom lowers a use of an instruction that has these effects.
func lowerCustom(t *testing.T, x effects) (*Lowered, error) {
	t.Helper()
	file, err := dockerfile.Parse("Dockerfile", []byte("FROM scratch\nSTEPS --from=other\n"), dockerfile.Options{
		Instructions: []sdk.Instruction{{Keyword: "STEPS", Flags: []sdk.Flag{{Name: "from"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(file, plan.Options{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}})
	if err != nil {
		t.Fatal(err)
	}
	return Stage(t.Context(), p, p.Stages[0], From(nil), Outside{Planner: x})
}
