package dockerfile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/sdk"
)

func testInstructions() []sdk.Instruction {
	return []sdk.Instruction{
		{
			Keyword: "JSONNET", Usage: "TEMPLATE DEST", MinArgs: 2,
			Flags: []sdk.Flag{{Name: "ext-str", Type: sdk.FlagList}, {Name: "J", Type: sdk.FlagList}, {Name: "pretty", Type: sdk.FlagBool}},
		},
		{Keyword: "SCRIPT", MaxArgs: -1, Heredocs: true, Flags: []sdk.Flag{{Name: "from"}}},
	}
}

func TestCustom(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text string
		want Custom
	}{
		"words": {
			"JSONNET a.jsonnet /dest.json --ext-str k=v --ext-str=w=x -J lib --pretty",
			Custom{Args: []string{"a.jsonnet", "/dest.json"}, Flags: []sdk.FlagValue{{Name: "ext-str", Value: "k=v"}, {Name: "ext-str", Value: "w=x"}, {Name: "J", Value: "lib"}, {Name: "pretty", Value: "true"}}},
		},
		"flags first":       {"jsonnet --pretty=false a b", Custom{Args: []string{"a", "b"}, Flags: []sdk.FlagValue{{Name: "pretty", Value: "false"}}}},
		"quotes stay":       {`JSONNET "a b" '$c'`, Custom{Args: []string{`"a b"`, `'$c'`}}},
		"escaped blank":     {`JSONNET a\ b c`, Custom{Args: []string{`a\ b`, "c"}}},
		"JSON form":         {`JSONNET ["a b", "--pretty"]`, Custom{Args: []string{"a b", "--pretty"}}},
		"after two dashes":  {"JSONNET -- --pretty b", Custom{Args: []string{"--pretty", "b"}}},
		"continuation line": {"JSONNET a \\\n  # why\n  b", Custom{Args: []string{"a", "b"}}},
		"heredocs": {
			"SCRIPT <<EOF <<-'END' x\nRUN is text here\nEOF\n\tJSONNET too\n\tEND",
			Custom{Args: []string{"EOF", "END", "x"}, Heredocs: []CustomHeredoc{{"EOF", "RUN is text here\n", true}, {"END", "JSONNET too\n", false}}},
		},
		"a comment in a continuation": {
			"SCRIPT a \\\n  # why\n\n  <<EOF\nRUN is text here\nEOF",
			Custom{Args: []string{"a", "EOF"}, Heredocs: []CustomHeredoc{{"EOF", "RUN is text here\n", true}}},
		},
		"a continuation without a blank before it": {
			"SCRIPT a\\\n <<EOF\nx\nEOF", Custom{Args: []string{"a", "EOF"}, Heredocs: []CustomHeredoc{{"EOF", "x\n", true}}},
		},
		"a heredoc's name is no variable": {
			"SCRIPT <<'$A'\nx\n$A", Custom{Args: []string{"'$A'"}, Heredocs: []CustomHeredoc{{"$A", "x\n", false}}},
		},
		"--from in quotes": {`SCRIPT --from="a" b`, Custom{Args: []string{"b"}, Flags: []sdk.FlagValue{{Name: "from", Value: "a"}}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := "FROM scratch\n" + tt.text + "\nRUN <<EOF\nSCRIPT <<NOT\nEOF\nENV A=b\n"
			f, err := Parse("Dockerfile", []byte(text), Options{Instructions: testInstructions()})
			if err != nil {
				t.Fatal(err)
			}
			list := f.Stages[0].Instructions
			if len(list) != 3 || list[1].Keyword != "RUN" || list[2].Keyword != "ENV" {
				t.Fatalf("instructions %+v", list)
			}
			got, ok := list[0].Command.(*Custom)
			if !ok {
				t.Fatalf("a %T", list[0].Command)
			}
			if list[0].Position != (Position{2, 1 + len(strings.Split(tt.text, "\n"))}) {
				t.Errorf("position %v", list[0].Position)
			}
			if diff := cmp.Diff(tt.want, Custom{Args: got.Args, Flags: got.Flags, Heredocs: got.Heredocs}, cmp.AllowUnexported(Custom{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestCustomInHeredocs holds that the text of others' heredocs stays as it is.
func TestCustomInHeredocs(t *testing.T) {
	t.Parallel()
	for _, begin := range []string{"RUN a <<EOF", "RUN a \\\n# why\n b <<EOF", "ONBUILD RUN a <<EOF", "ONBUILD COPY <<EOF /x"} {
		f, err := Parse("Dockerfile", []byte("FROM scratch\n"+begin+"\nSCRIPT <<X\nX\nEOF\nENV a=b\n"), Options{Instructions: testInstructions()})
		if err != nil {
			t.Errorf("%q: %v", begin, err)
			continue
		}
		var text string
		switch c := f.Stages[0].Instructions[0].Command.(type) {
		case *Run:
			text = c.Files[0].Data
		case *Onbuild:
			text = c.Expression
		}
		if !strings.Contains(text, "SCRIPT <<X\n") {
			t.Errorf("%q: the heredoc came to be %q", begin, text)
		}
	}
}

func TestCustomRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"JSONNET a":                     "JSONNET takes 2 arguments, not 1",
		"JSONNET a b c":                 "JSONNET takes 2 arguments, not 3",
		"JSONNET --nope a b":            `unknown flag "--nope"`,
		"JSONNET a b -J":                `flag "-J" needs a value`,
		"JSONNET a b --pretty=x":        `flag "pretty" is true or false, not "x"`,
		"JSONNET a b --pretty --pretty": `flag "pretty" is given twice`,
		"JSONNET 'a b":                  `a quote '\'' is not closed`,
		"JSONNET <<EOF b\nEOF":          "JSONNET takes no heredocs",
		"ONBUILD JSONNET a b":           errTrigger.Error(),
		"JSONET a b":                    `unknown instruction "JSONET"`,
	} {
		_, err := Parse("Dockerfile", []byte("FROM scratch\n"+text+"\n"), Options{Instructions: testInstructions()})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Dockerfile:2") {
			t.Errorf("%q: error %v, want %q at line 2", text, err, want)
		}
	}
	for _, bad := range []sdk.Instruction{{Keyword: "RUN"}, {Keyword: "lower"}, {}, {Keyword: "A", MinArgs: 2, MaxArgs: 1}, {Keyword: "A", Flags: []sdk.Flag{{}}}} {
		if _, err := Parse("Dockerfile", []byte("FROM scratch\n"), Options{Instructions: []sdk.Instruction{bad}}); err == nil {
			t.Errorf("%+v passes", bad)
		}
	}
}

// TestNothingCustom holds that keywords mean nothing without the plugin.
func TestNothingCustom(t *testing.T) {
	t.Parallel()
	if _, err := Parse("Dockerfile", []byte("FROM scratch\nJSONNET a b\n"), Options{}); err == nil || !strings.Contains(err.Error(), `unknown instruction "JSONNET"`) {
		t.Errorf("error %v", err)
	}
}
