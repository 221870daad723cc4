package author_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/host/plugin/author"
	"github.com/trowel-build/trowel/sdk"
)

// A test that finds nothing proves nothing: each of these plugins has a fault, which the check that is about it finds.
func TestFindsFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		kind     sdk.Kind
		file     string
		old, new string
		check    string // that fails
		problem  string // that it tells of
	}{
		"it keeps what it is asked": {
			sdk.KindInstruction, "main.go", "if len(call.Args) != 2", "kept = append(kept, call.Env...)\n\tif len(call.Args) != 2",
			"1,000 calls leave the memory flat", "it keeps something of each call",
		},
		"it crashes without arguments": {
			sdk.KindInstruction, "main.go", "len(call.Args) != 2 || call.Args[0] == \"\"", "call.Args[0] == \"\"",
			"bad uses of its instructions are refused, and crash nothing", "index out of range",
		},
		"it ignores unknown keys": {
			sdk.KindInstruction, "main.go", "return h, config.Err()", "return h, nil",
			"a configuration that is not its own is refused", "is ignored",
		},
		"it has another name": {
			sdk.KindInstruction, "main.go", `Name: "my-instruction"`, `Name: "yours"`,
			"starts, and says of itself what its manifest says", `it calls itself "yours"`,
		},
		"it has an instruction of the language's": {
			sdk.KindInstruction, "main.go", `Keyword: "MY_INSTRUCTION"`, `Keyword: "COPY"`,
			"describes its instructions", "has an instruction of that name",
		},
		"it answers another thing than its author wants": {
			sdk.KindInstruction, "tests/greets.json", "Hello, world", "Hello, moon",
			"case: greets", "and should answer",
		},
		"it takes a refusal for a miss": {
			sdk.KindCache, "main.go", "\t}}, config.Err()", "\t}, Fault: func(doing string, r sdk.HTTPResponse) error {\n\t\tif r.Status == 401 {\n\t\t\treturn nil\n\t\t}\n" +
				"\t\treturn objects.Fault(doing, r)\n\t}}, config.Err()",
			"fault: HTTP 401 is an error and no miss", "as if all were well",
		},
		"it takes half an answer for a record": {
			sdk.KindCache, "main.go", "\t}}, config.Err()", "\t}, Fault: func(doing string, r sdk.HTTPResponse) error {\n\t\tif r.Error != nil {\n\t\t\treturn nil\n\t\t}\n" +
				"\t\treturn objects.Fault(doing, r)\n\t}}, config.Err()",
			"fault: a truncated answer is no record and no blob", "passes for a record or a miss",
		},
		"it makes a request more than its author knows of": {
			sdk.KindCache, "tests/miss.json", `"keys": ["definition/sha256:00"]`, `"keys": ["definition/sha256:00", "definition/sha256:01"]`,
			"case: miss", "it makes a request that the case does not have",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(tt.check, "memory") { // that one runs alone, for what it measures is the process's
				t.Parallel()
			}
			p := plant(t, tt.kind, author.Go)
			file := filepath.Join(p.Dir, tt.file)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			faulty := strings.Replace(string(text), tt.old, tt.new, 1)
			if faulty == string(text) {
				t.Fatalf("%s has no %q", tt.file, tt.old)
			}
			if strings.Contains(tt.new, "kept") {
				faulty += "\nvar kept []string\n"
			}
			if err := os.WriteFile(file, []byte(faulty), 0o644); err != nil {
				t.Fatal(err)
			}
			s, err := author.OpenSubject(build(t, p).File)
			if err != nil {
				t.Fatal(err)
			}
			report, err := author.Test(t.Context(), author.TestRequest{Subject: s, Only: regexp.MustCompile(regexp.QuoteMeta(tt.check))})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range report.Results {
				if r.Name == tt.check && !r.OK() && strings.Contains(strings.Join(r.Problems, "\n"), tt.problem) {
					return
				}
			}
			for _, r := range report.Results {
				t.Log(r.Text())
			}
			t.Errorf("%q does not find it", tt.check)
		})
	}
}
