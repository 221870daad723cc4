package lower

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/sdk"
)

func TestStandard(t *testing.T) {
	t.Parallel()
	app := sdk.Call{User: "app", Workdir: "/"}
	tests := map[string]struct {
		call    sdk.Call
		effects []sdk.Effect
		want    []string
	}{
		"files are root's business": {
			app, []sdk.Effect{{Remove: &sdk.Remove{Path: "/x"}}},
			[]string{"USER root", "RUN rm -rf '/x'", "USER 'app'"},
		},
		"the user that was set comes back": {
			sdk.Call{Workdir: "/"},
			[]sdk.Effect{
				{Set: &sdk.Set{Field: "user", Values: []string{"app"}}}, {Set: &sdk.Set{Field: "workdir", Values: []string{"w"}}},
				{Exec: &sdk.Exec{Args: []string{"id"}, User: "root", Dir: "/d"}},
			},
			[]string{"USER 'app'", "WORKDIR 'w'", "USER 'root'", "WORKDIR '/d'", `RUN ["id"]`, "USER 'app'", "WORKDIR '/w'"},
		},
		"words like flags": {
			sdk.Call{}, []sdk.Effect{{Mkdir: &sdk.Mkdir{Path: "-d"}}, {Write: &sdk.Write{Path: "/n", Content: []byte("-n")}}},
			[]string{"RUN mkdir -p '--' '-d'", `RUN mkdir -p '/' && : > '/n' && printf '\055n' >> '/n' && chmod 0644 '/n'`},
		},
		"COPY splits at blanks": {
			sdk.Call{}, []sdk.Effect{{Write: &sdk.Write{Path: "/a b", Content: []byte("x\n")}}},
			[]string{`RUN mkdir -p '/' && : > '/a b' && printf 'x\012' >> '/a b' && chmod 0644 '/a b'`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &Custom{Call: tt.call, Plan: sdk.Plan{Effects: tt.effects}}
			if diff := cmp.Diff(tt.want, c.Standard()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestStandardLines holds that no line is longer than a Dockerfile may have.
func TestStandardLines(t *testing.T) {
	t.Parallel()
	for name, content := range map[string][]byte{"binary": make([]byte, 100_000), "one line": []byte(strings.Repeat("x", 100_000) + "\n")} {
		c := &Custom{Plan: sdk.Plan{Effects: []sdk.Effect{{Write: &sdk.Write{Path: "/x", Content: content}}}}}
		lines := c.Standard()
		if n := strings.Count(strings.Join(lines, "\n"), ">> '/x'"); n != 9 {
			t.Errorf("%s: it is written in %d parts", name, n)
		}
		for _, line := range lines {
			if len(line) > 65_000 || !strings.HasPrefix(line, "RUN ") {
				t.Errorf("%s: a line of %d bytes: %.40s", name, len(line), line)
			}
		}
	}
}
