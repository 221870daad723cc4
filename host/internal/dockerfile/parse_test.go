package dockerfile

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	text := "\xEF\xBB\xBF# syntax=docker/dockerfile:1\r\n" + `# escape=` + "`" + `
ARG V=1 W
# build compiles the program
FROM --platform=$BUILDPLATFORM debian:$V AS Build
RUN one ` + "`" + `

  two
COPY <<EOF /x
text
EOF

from build
cmd ["x"]
`
	f, err := Parse("dir/Dockerfile", []byte(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	type stage struct {
		Name, Base, Platform, Comment string
		From                          Position
		Instructions                  []string
		Positions                     []Position
	}
	var got []stage
	for i, s := range f.Stages {
		if s.Index != i || s.From.Keyword != "FROM" {
			t.Errorf("stage %d has index %d and keyword %q", i, s.Index, s.From.Keyword)
		}
		g := stage{Name: s.Name, Base: s.BaseName, Platform: s.Platform, Comment: s.Comment, From: s.From.Position}
		for _, in := range s.Instructions {
			g.Instructions = append(g.Instructions, in.Keyword+"|"+in.Text())
			g.Positions = append(g.Positions, in.Position)
		}
		got = append(got, g)
	}
	want := []stage{
		{
			"build", "debian:$V", "$BUILDPLATFORM", "compiles the program",
			Position{5, 5},
			[]string{"RUN|RUN one   two", "COPY|COPY <<EOF /x"},
			[]Position{{6, 8}, {9, 11}},
		},
		{"", "build", "", "", Position{13, 13}, []string{`CMD|cmd ["x"]`}, []Position{{14, 14}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	if len(f.Args) != 1 || len(f.Args[0].Command.(*Arg).Args) != 2 || f.Escape != '`' {
		t.Errorf("got arguments %v, escape %q", f.Args, f.Escape)
	}
	if got, want := f.Source(Position{9, 11}), "COPY <<EOF /x\ntext\nEOF"; got != want {
		t.Errorf("got source %q, want %q", got, want)
	}
	const rules = "https://docs.docker.com/go/dockerfile/rule/"
	const casing = "All commands within the Dockerfile should use the same casing (either upper or lower)"
	wantWarnings := []Warning{
		{
			"NoEmptyContinuation", "Empty continuation line", "Empty continuation lines will become errors in a future release",
			rules + "no-empty-continuation/",
			Position{8, 8},
			8, 0,
		},
		{
			"StageNameCasing", "Stage name 'Build' should be lowercase", "Stage names should be lowercase",
			rules + "stage-name-casing/",
			Position{5, 5},
			5, 45,
		},
		{
			"ConsistentInstructionCasing", "Command 'from' should match the case of the command majority (uppercase)", casing,
			rules + "consistent-instruction-casing/",
			Position{13, 13},
			13, 1,
		},
		{
			"ConsistentInstructionCasing", "Command 'cmd' should match the case of the command majority (uppercase)", casing,
			rules + "consistent-instruction-casing/",
			Position{14, 14},
			14, 1,
		},
	}
	if diff := cmp.Diff(wantWarnings, f.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if got, want := f.Excerpt(f.Warnings[2]), "> 13 | from build\n     | ^\n"; got != want {
		t.Errorf("got excerpt %q, want %q", got, want)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       []string
	}{
		{"none", "FROM a", nil},
		{"maintainer", "FROM a\nMAINTAINER me", []string{"MaintainerDeprecated"}},
		{"as casing", "FROM a as b", []string{"FromAsCasing"}},
		{"skipped", "# check=skip=FromAsCasing\nFROM a as b\nMAINTAINER me", []string{"MaintainerDeprecated"}},
		{"all skipped", "# check=skip=all\nFROM a as b\nMAINTAINER me", nil},
		{"skipped above the instruction", "FROM a\n# check=skip=MaintainerDeprecated\nMAINTAINER me", nil},
		{"experimental", "# check=experimental=all\n# other text\nFROM a AS b", []string{"InvalidDefinitionDescription"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f, err := Parse("Dockerfile", []byte(test.text), Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range f.Warnings {
				got = append(got, w.Rule)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckError(t *testing.T) {
	t.Parallel()
	found := []Warning{
		{Text: "no rule"}, {Rule: "B", Position: Position{2, 2}, Line: 2, Column: 3}, {Rule: "A", Position: Position{1, 1}, Line: 1}, {Rule: "B"},
	}
	f, err := Parse("Dockerfile", []byte("# check=error=true\nFROM a"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	e, ok := errors.AsType[*Error](f.CheckError(found))
	if !ok || e.Error() != "Dockerfile:2:3: build checks found violations of A, B" {
		t.Errorf("got error %v", e)
	}
	if err := f.CheckError(found[:1]); err != nil {
		t.Errorf("got %v for what is no build check", err)
	}
	setting := "skip=none"
	if f, err = Parse("Dockerfile", []byte("# check=error=true\nFROM a"), Options{Checks: &setting}); err != nil || f.CheckError(found) != nil {
		t.Errorf("got errors %v, %v with another setting", err, f.CheckError(found))
	}
	setting = "nonsense"
	if _, err := Parse("Dockerfile", []byte("FROM a"), Options{Checks: &setting}); err == nil {
		t.Error("a setting without sense was accepted")
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text   string
		line, column int
		want, hint   string
	}{
		{"empty", "", 0, 0, "the Dockerfile is empty", "FROM"},
		{"blank", "\xEF\xBB\xBF \n\t\n", 0, 0, "the Dockerfile is empty", "FROM"},
		{"comments", "# a\n# b", 2, 0, "no instructions", ""},
		{"nul", "FROM a\nRUN a\x00b", 2, 6, "NUL byte", "binary"},
		{"utf-16", "\xFF\xFEF\x00R\x00", 1, 4, "NUL byte", "UTF-8"},
		{"too large", strings.Repeat("#\n", 9<<20), 0, 0, "more than 16777216 are not read", ""},
		{"long line", "FROM a\nRUN " + strings.Repeat("x", 65536), 2, 0, "more than 65535 are not supported", "continuation"},
		{"long heredoc line", "FROM a\nRUN <<E\n" + strings.Repeat("x", 65536) + "\nE", 3, 0, "more than 65535 are not supported", ""},
		{"too many", "FROM a\n" + strings.Repeat("USER a\n", 5000), 5001, 0, "the file has 5001 instructions", ""},
		{"no from", "ARG A=1", 0, 0, "no FROM", "starts with FROM"},
		{"before from", "ARG A=1\n  RUN x\nFROM a", 2, 3, "RUN: only ARG can stand before the first FROM", ""},
		{"unknown", "FROM a\n\n  RNU x", 3, 3, `unknown instruction "RNU"`, "did you mean RUN?"},
		{"unknown in small letters", "from a\ncoppy a b", 2, 1, `unknown instruction "coppy"`, "did you mean COPY?"},
		{"merge conflict", "FROM a\n<<<<<<< HEAD\nRUN x", 2, 1, "unknown instruction", "merge conflict"},
		{"lost continuation", "FROM a\nRUN apt-get update &&\n  apt-get install x", 3, 3, `unknown instruction "apt-get"`, ""},
		{"unknown flag", "FROM a\nCOPY --form=b \\\n x /", 2, 6, `COPY: unknown flag "--form"`, "did you mean --from?"},
		{"unknown flag on the next line", "FROM a\nCOPY \\\n  --chwon=1 x /", 3, 3, `COPY: unknown flag "--chwon"`, "did you mean --chown?"},
		{"far flag", "FROM --os=linux a", 1, 6, `unknown flag "--os"`, "the flags are --platform"},
		{"no flags", "FROM a\nSTOPSIGNAL --x 9", 2, 12, `unknown flag "--x": STOPSIGNAL has no flags`, ""},
		{"flags of arg", "FROM a\nARG --x=1 A", 2, 5, `unknown flag "--x": ARG has no flags`, ""},
		{"no value", "FROM a\nCOPY --from a /", 2, 6, `flag "--from" needs a value`, ""},
		{"bad value", "FROM a\nCOPY --link=yes a /", 2, 6, `flag "--link" is true or false, not "yes"`, ""},
		{"empty value", "FROM a\nCOPY --link= a /", 2, 6, `flag "--link" is true or false, not ""`, ""},
		{"flag twice", "FROM a\nCOPY --from=a --from=b a /", 2, 6, `flag "--from" is given twice`, ""},
		{"device", "FROM a\nRUN --device=x y", 2, 5, "--device is not supported yet", ""},
		{"flag of a trigger", "FROM a\nONBUILD COPY --form=b x /", 2, 14, `ONBUILD: unknown flag "--form"`, "did you mean --from?"},
		{"unknown trigger", "FROM a\nONBUILD RNU x", 2, 9, `ONBUILD: unknown instruction "RNU"`, "did you mean RUN?"},
		{"chained trigger", "FROM a\nONBUILD ONBUILD RUN x", 2, 0, "ONBUILD", ""},
		{"heredoc", "FROM a\nRUN x\nRUN cat <<EOF\nabc\n EOF\n", 3, 9, "RUN: unterminated heredoc", "a heredoc ends"},
		{"heredoc as destination", "FROM a\nCOPY x <<E\ny\nE", 2, 8, "COPY cannot accept a heredoc as a destination", ""},
		{"env", "FROM a\nENV A=1 \\\n  B", 3, 3, `can't find = in "B"`, ""},
		{"env without value", "FROM a\nENV A", 2, 0, "ENV must have two arguments", ""},
		{"copy alone", "FROM a\nCOPY a", 2, 0, "COPY requires at least two arguments", ""},
		{"network", "FROM a\nRUN --network=hots x", 2, 15, `invalid network mode "hots"`, ""},
		{"json", "FROM a\nCMD [1]", 2, 0, "strings only", ""},
		{"healthcheck", "FROM a\nHEALTHCHECK CDM x", 2, 13, `Unknown type "CDM"`, ""},
		{"interval", "FROM a\nHEALTHCHECK --interval=5 CMD x", 2, 24, `missing unit in duration "5"`, ""},
		{"stage name", "FROM a AS 1b", 1, 11, `invalid name for build stage: "1b"`, ""},
		{"from words", "FROM a b", 1, 0, "FROM requires either one or three arguments", ""},
		{"shell", "FROM a\nSHELL x", 2, 0, "SHELL requires", ""},
		{"mount", "FROM a\nRUN --mount=from=$X,target=/x y", 2, 13, "doesn't support variable expansion", ""},
		{"escape", "# escape=x\nFROM a", 1, 10, `escape character "x" is not supported`, ""},
		{"escape twice", "# escape=`\n# escape=`\nFROM a", 2, 0, "only one escape", ""},
		{"check", "# check=skpi=all\nFROM a", 1, 9, "skpi", "skip=Rule"},
		{"syntax", "# syntax=example.com/front:1\nFROM a", 1, 10, `syntax "example.com/front:1" is not supported`, "remove the line"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("Dockerfile", []byte(test.text), Options{})
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("got error %v, want an *Error", err)
			}
			if e.Line != test.line || e.Column != test.column {
				t.Errorf("got position %d:%d, want %d:%d: %v", e.Line, e.Column, test.line, test.column, err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, want %q in it", err, test.want)
			}
			if !strings.Contains(e.Hint, test.hint) || test.hint == "" && e.Hint != "" && strings.Contains(e.Hint, "did you mean") {
				t.Errorf("got hint %q, want %q", e.Hint, test.hint)
			}
		})
	}
}

func TestCheckSyntax(t *testing.T) {
	t.Parallel()
	for _, ref := range []string{
		"docker/dockerfile", "docker/dockerfile:1", "docker/dockerfile:1.7-labs", "docker.io/docker/dockerfile:1",
		"docker/dockerfile-upstream:master", "docker/dockerfile:1@sha256:0123", "index.docker.io/docker/dockerfile",
	} {
		if err := CheckSyntax(ref); err != nil {
			t.Errorf("%q: %v", ref, err)
		}
	}
	for _, ref := range []string{"", "dockerfile", "docker/dockerfiles", "evil/docker/dockerfile:1", "docker.io.example.com/docker/dockerfile", "devthefuture/dockerfile-x"} {
		if CheckSyntax(ref) == nil {
			t.Errorf("%q was accepted", ref)
		}
	}
}

func TestExcerpt(t *testing.T) {
	t.Parallel()
	_, err := Parse("Dockerfile", []byte("FROM a\n\n\n\n\n\n\n\nCOPY \\\n\t--chwon=1\x1b[31m \\\n  x /"), Options{})
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatal(err)
	}
	want := `   9 | COPY \
> 10 |  --chwon=1` + "\uFFFD" + `[31m \
     |  ^
  11 |   x /
`
	if diff := cmp.Diff(want, e.Excerpt()); diff != "" {
		t.Errorf("excerpt (-want +got):\n%s", diff)
	}
}

// TestExcerptHidesPasswords: what somebody wrote into an address must not get into the log of a job.
func TestExcerptHidesPasswords(t *testing.T) {
	t.Parallel()
	_, err := Parse("Dockerfile", []byte("FROM a\nADD --nosuch http://me:p\u00e4ss@example.com/x /y\n"), Options{})
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatal(err)
	}
	want := "> 2 | ADD --nosuch http://xxxxxxx@example.com/x /y\n    |     ^\n"
	if diff := cmp.Diff(want, e.Excerpt()); diff != "" {
		t.Errorf("excerpt (-want +got):\n%s", diff)
	}
}

// TestExcerptIsShort: a huge instruction must not flood the terminal.
func TestExcerptIsShort(t *testing.T) {
	t.Parallel()
	f, err := Parse("Dockerfile", []byte("FROM a\nRUN x \\\n"+strings.Repeat(strings.Repeat("y", 1000)+" \\\n", 1000)+"last"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	e := f.Fail(f.Stages[0].Instructions[0], "last", errors.New("cause"), "")
	if got := e.Excerpt(); e.Line != 1003 || len(got) > 5000 || !strings.Contains(got, "> 1003 | last\n") {
		t.Errorf("line %d, %d bytes: %s", e.Line, len(got), got)
	}
}

func TestTrigger(t *testing.T) {
	t.Parallel()
	f, err := Parse("Dockerfile", []byte("FROM a\nRUN x\nFROM base AS b\nRUN y"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	in, err := f.Trigger("COPY <<E /x\ntext\nE", f.Stages[1])
	if err != nil {
		t.Fatal(err)
	}
	c, ok := in.Command.(*Copy)
	if !ok || c.SourceContents[0].Data != "text\n" || in.Position != (Position{3, 3}) || in.Text() != "COPY <<E /x" {
		t.Errorf("got %+v with %+v", in, in.Command)
	}
	for _, text := range []string{"", "RNU x", "COPY --form=x a b", "RUN x\nRUN y", "FROM x", "ONBUILD RUN x", "MAINTAINER m", "COPY x", "RUN <<E\nx", "RUN \x00", "# only"} {
		_, err := f.Trigger(text, f.Stages[1])
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Line != 3 || e.Instruction != "FROM" || !strings.Contains(err.Error(), "ONBUILD trigger") {
			t.Errorf("trigger %q: got %v, want an error at line 3", text, err)
		}
	}
}

// values are variables for tests.
type values map[string]string

func (v values) Get(name string) (string, bool) { s, ok := v[name]; return s, ok }
func (v values) Keys() []string                 { return nil }

func TestLexer(t *testing.T) {
	t.Parallel()
	f, err := Parse("Dockerfile", []byte("# escape=`\nFROM a"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	vars := values{"A": "1", "P": "/x/y.tar.gz"}
	tests := []struct{ word, want string }{
		{"$A${B}$A", "11"}, {"${B:-d}", "d"}, {"'$A'", "$A"}, {"`$A", "$A"}, {`\$A`, `\1`}, {"${P##*/}", "y.tar.gz"}, {"${P%.*}", "/x/y.tar"},
	}
	for _, test := range tests {
		if got, err := f.Lexer().Word(test.word, vars); err != nil || got != test.want {
			t.Errorf("Word(%q) = %q, %v, want %q", test.word, got, err, test.want)
		}
	}
	if got := f.Lexer().Display(`echo "$A" $B '$A'`, vars); got != `echo "1" $B '$A'` {
		t.Errorf("got display %q", got)
	}
	if got, err := Heredoc("'$A' \"$B\" \\$A", vars); err != nil || got.Value != `'1' "" $A` {
		t.Errorf("got heredoc %q, %v", got, err)
	}
	if _, err := Heredoc("${A", vars); err == nil {
		t.Error("a heredoc with a broken variable was accepted")
	}
	if x, err := f.Lexer().Expand("$A$B${C}", vars); err != nil || !cmp.Equal(x, Expansion{"1", []string{"A"}, []string{"B", "C"}}) {
		t.Errorf("got %v, %v", x, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"FROM a\nRUN x", "# syntax=docker/dockerfile:1\nARG A=1\nFROM a AS b\nCOPY --from=b x y", "FROM a\nRUN <<E\nx\nE\n", "FROM a\nONBUILD COPY <<-E /\n\tx\n\tE",
		"FROM a\nENV A=\"b\\\n c\" D", "// syntax=x\nFROM a", "{\"syntax\":\"x\"}", "FROM a\nHEALTHCHECK --interval=1s CMD [\"x\"]", "FROM a\n<<", "#!/x\n# escape=`\nFROM a `\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Parse("Dockerfile", text, Options{})
		lines := strings.Count(string(text), "\n") + 1
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("error %v is no *Error", err)
			}
			if e.Line < 0 || e.Line > lines || e.Column > 0 && e.Line == 0 {
				t.Fatalf("error at %d:%d of %d lines: %v", e.Line, e.Column, lines, err)
			}
			e.Excerpt()
			return
		}
		if len(file.Stages) == 0 {
			t.Fatal("no stage and no error")
		}
		previous := 0
		for _, s := range file.Stages {
			for _, in := range append([]Instruction{s.From}, s.Instructions...) {
				if in.Position.First <= previous || in.Position.Last < in.Position.First || in.Position.Last > lines {
					t.Fatalf("%s at %+v after line %d of %d", in.Keyword, in.Position, previous, lines)
				}
				previous = in.Position.Last
				if o, ok := in.Command.(*Onbuild); ok {
					file.Trigger(o.Expression, s)
				}
			}
		}
	})
}
