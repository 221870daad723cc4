package host_test

import (
	"errors"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/trowel-build/trowel/"

// mayImport lists for each top-level folder the folders of ours that it may import.
var mayImport = map[string][]string{
	"sdk":     {"sdk"},
	"builtin": {"sdk", "builtin"},
	"plugins": {"sdk", "plugins"},
	// compiles plugins, and is none
	"plugins/pack": {"host", "plugins"},
	"host":         {"sdk", "host"},
	"cmd":          {"sdk", "host", "builtin", "plugins", "cmd", "bench", "testdata"}, // the last two for tests
}

// stdlibOnly are the packages that plugin authors link: they import nothing but the standard library and each other.
var stdlibOnly = []string{"sdk", "sdk/abi", "sdk/guest", "sdk/objects", "sdk/plugin", "sdk/plugintest", "sdk/process", "sdk/process/wire"}

// homes says which of our packages may import a third-party library; a folder stands for all below it. A library that is
// not listed may be imported nowhere: adding one means giving it a home here and a line in RATIONALE.md.
var homes = map[string][]string{
	// The vocabulary of the engine.
	"github.com/containerd/platforms":      {"host"},
	"github.com/opencontainers/go-digest":  {"host"},
	"github.com/opencontainers/image-spec": {"host"},

	"github.com/trowel-build/trowel": {"cmd/trowel"}, // the source of sdk, for `trowel plugin new`

	"github.com/BurntSushi/toml":                          {"host/config", "host/plugin"},
	"github.com/distribution/reference":                   {"host/internal/plan", "host/internal/registry", "host/internal/output"},
	"github.com/google/go-containerregistry":              {"host/internal/registry"},
	"github.com/google/go-containerregistry/pkg/registry": {"cmd/trowel"}, // the embedded registry
	"github.com/klauspost/compress":                       {"host/internal/layer", "host/internal/filecopy", "plugins"},
	"github.com/moby/buildkit":                            {"host/internal/dockerfile"},
	"github.com/moby/buildkit/util/suggest":               {"host/internal"},
	"github.com/moby/patternmatcher":                      {"host/internal/buildcontext", "host/internal/filecopy"},
	"github.com/spf13/cobra":                              {"cmd/trowel"},
	"github.com/spf13/pflag":                              {"cmd/trowel"},
	"github.com/tonistiigi/dchapes-mode":                  {"host/internal/filecopy"},
	"github.com/ulikunitz/xz":                             {"host/internal/filecopy"},
	"golang.org/x/crypto":                                 {"host/internal/sshagent"},
	"golang.org/x/net":                                    {"host/internal/registry"},
	"golang.org/x/sync":                                   {"*"},
	"golang.org/x/sys":                                    {"*"},
	"golang.org/x/term":                                   {"host/internal/progress", "host/internal/output", "cmd/trowel"},
	"github.com/google/go-jsonnet":                        {"plugins/jsonnet"},
	"github.com/hashicorp/go-hclog":                       {"host/plugin/process"},
	"github.com/hashicorp/go-plugin":                      {"host/plugin/process"},
	"github.com/santhosh-tekuri/jsonschema":               {"host/plugin"},
	"github.com/tetratelabs/wazero":                       {"host/plugin/wasm"},
	"google.golang.org/grpc":                              {"host/plugin/process"},
	"github.com/google/go-cmp":                            {},
	"github.com/rogpeppe/go-internal":                     {},
	"github.com/klauspost/pgzip":                          {},
}

// TestImports parses every file of the tree: a test that asked the go command would be cached across a violation.
func TestImports(t *testing.T) {
	t.Parallel()
	root := os.DirFS("..")
	for top := range mayImport {
		err := fs.WalkDir(root, top, func(name string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && name == top {
				return fs.SkipDir // plugins come later
			}
			if err != nil || path.Ext(name) != ".go" || strings.Contains(name, "/testdata/") {
				return err
			}
			for _, imported := range imports(t, root, name) {
				if why := violation(name, imported); why != "" {
					t.Errorf("%s imports %s: %s", name, imported, why)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func imports(t *testing.T, root fs.FS, name string) []string {
	t.Helper()
	src, err := fs.ReadFile(root, name)
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, spec := range file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p)
	}
	return paths
}

// violation says what is wrong with an import, or nothing.
func violation(file, imported string) string {
	dir := path.Dir(file)
	top, _, _ := strings.Cut(dir, "/")
	if rest, ours := strings.CutPrefix(imported, module); ours {
		to, _, _ := strings.Cut(rest, "/")
		may, special := mayImport[dir]
		if !special {
			may = mayImport[top]
		}
		if !slices.Contains(may, to) {
			return top + " may import only " + strings.Join(may, ", ")
		}
		return ""
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return "" // standard library
	}
	if slices.Contains(stdlibOnly, dir) && !strings.HasSuffix(file, "_test.go") {
		return dir + " may import only the standard library"
	}
	library, known := homeOf(imported)
	switch {
	case !known:
		return "it has no home in this test"
	case strings.HasSuffix(file, "_test.go"):
		return "" // tests may look at results with any library that the module already has
	}
	for _, home := range homes[library] {
		if home == "*" || dir == home || strings.HasPrefix(dir, home+"/") {
			return ""
		}
	}
	return "its home is " + strings.Join(homes[library], ", ")
}

// homeOf finds the longest listed path that an import lies in.
func homeOf(imported string) (library string, known bool) {
	for path := range homes {
		if (imported == path || strings.HasPrefix(imported, path+"/")) && len(path) > len(library) {
			library, known = path, true
		}
	}
	return library, known
}

// TestViolation keeps the test above honest.
func TestViolation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		file, imported string
		bad            bool
	}{
		{"sdk/cache.go", "context", false},
		{"sdk/cache.go", module + "host", true},
		{"sdk/cache.go", "golang.org/x/sys/unix", true},
		{"builtin/cache/local/local.go", module + "sdk", false},
		{"builtin/cache/local/local.go", module + "host/internal/blob", true},
		{"host/build.go", module + "builtin/cache/local", true},
		{"host/internal/stage/run.go", "github.com/moby/buildkit/frontend/dockerfile/parser", true},
		{"host/internal/dockerfile/parse.go", "github.com/moby/buildkit/frontend/dockerfile/parser", false},
		{"cmd/trowel/main.go", "example.com/unknown", true},
	} {
		if why := violation(tt.file, tt.imported); (why != "") != tt.bad {
			t.Errorf("violation(%s, %s) = %q", tt.file, tt.imported, why)
		}
	}
}
