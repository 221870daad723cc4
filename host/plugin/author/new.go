package author

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/template"

	"github.com/trowel-build/trowel/sdk"
)

//go:embed all:templates
var templates embed.FS

// NewRequest says what project is started.
type NewRequest struct {
	Kind     sdk.Kind
	Language Language
	Dir      string // must not exist, or be empty
	// SDK is the tree that has the SDK's source: "sdk/cache.go" and so on.
	SDK fs.FS
}

// New starts a plugin's project, which builds and passes its tests as it is. It returns the names of the files.
func New(r NewRequest) ([]string, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	if err := makeEmpty(r.Dir); err != nil {
		return nil, err
	}
	values, err := r.values()
	if err != nil {
		return nil, err
	}
	p := &planting{dir: r.Dir, values: values}
	for _, tree := range []string{"any", "lang/" + string(r.Language), string(r.Kind) + "/any", string(r.Kind) + "/" + string(r.Language)} {
		if err := p.templates(path.Join("templates", tree)); err != nil {
			return nil, err
		}
	}
	if err := p.sdk(r.SDK, r.Language); err != nil {
		return nil, err
	}
	slices.Sort(p.files)
	return p.files, nil
}

func (r NewRequest) validate() error {
	if !slices.Contains(Kinds(), r.Kind) {
		return fmt.Errorf("%q is no kind of plugin: use %s", r.Kind, words(Kinds()))
	}
	if !slices.Contains(Languages(), r.Language) {
		return fmt.Errorf("there is no template for the language %q: use %s", r.Language, words(Languages()))
	}
	return nil
}

// words lists choices for a message.
func words[T ~string](choices []T) string {
	quoted := make([]string, len(choices))
	for i, c := range choices {
		quoted[i] = `"` + string(c) + `"`
	}
	return strings.Join(quoted, ", ")
}

// makeEmpty makes a directory, or makes sure that it has nothing.
func makeEmpty(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != ".git" {
			return fmt.Errorf("%q is not empty: name a new directory", dir)
		}
	}
	return nil
}

// values are what the templates have blanks for.
type values struct {
	Name, Keyword, Summary, GoVersion string
	Kind                              sdk.Kind
	Language                          Language
}

func (r NewRequest) values() (values, error) {
	dir, err := filepath.Abs(r.Dir)
	if err != nil {
		return values{}, err
	}
	name := nameOf(filepath.Base(dir))
	if name == "" {
		return values{}, fmt.Errorf("%q makes no name for a plugin: use a-z, 0-9 and dashes", filepath.Base(dir))
	}
	v := values{Name: name, Kind: r.Kind, Language: r.Language, GoVersion: goVersion(runtime.Version())}
	v.Keyword = strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	v.Summary = map[sdk.Kind]string{
		sdk.KindCache:       "keeps the build cache on an HTTP server",
		sdk.KindCredential:  "answers with a token for some registries",
		sdk.KindInstruction: v.Keyword + " writes a greeting",
	}[r.Kind]
	return v, nil
}

// nameOf is a directory's name as the name of a plugin.
func nameOf(dir string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r == '_' || r == '.' || r == ' ':
			return '-'
		}
		return -1
	}, strings.ToLower(dir))
	name = strings.Trim(name, "-0123456789") // an instruction's keyword begins with a letter
	return name[:min(len(name), 40)]
}

// goVersion is the language version that go.mod asks for: that of the compiler which compiled this SDK, without the patch.
func goVersion(version string) string {
	fields := strings.Split(strings.TrimPrefix(version, "go"), ".")
	if !strings.HasPrefix(version, "go") || len(fields) < 2 {
		return "1.26"
	}
	return fields[0] + "." + strings.TrimRightFunc(fields[1], func(r rune) bool { return r < '0' || r > '9' })
}

// planting fills a directory.
type planting struct {
	dir    string
	values values
	files  []string
}

func (p *planting) write(name string, content []byte) error {
	to := filepath.Join(p.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	p.files = append(p.files, name)
	return os.WriteFile(to, content, 0o644)
}

// templates writes the files of a tree of templates, if there is such a tree.
func (p *planting) templates(tree string) error {
	err := fs.WalkDir(templates, tree, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(templates, name)
		if err != nil {
			return err
		}
		t, err := template.New(name).Option("missingkey=error").Parse(string(text))
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := t.Execute(&out, p.values); err != nil {
			return err
		}
		return p.write(strings.TrimSuffix(strings.TrimPrefix(name, tree+"/"), ".tmpl"), out.Bytes())
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sdk writes the SDK of a language: one file, or for Go a module.
func (p *planting) sdk(source fs.FS, language Language) error {
	files := map[Language]string{C: "c/trowel.h", Rust: "rust/trowel.rs", AssemblyScript: "assemblyscript/trowel.ts"}
	if file := files[language]; file != "" {
		content, err := fs.ReadFile(source, "sdk/"+file)
		if err != nil {
			return err
		}
		return p.write(path.Base(file), content)
	}
	const at = "trowel-sdk"
	err := p.write(at+"/go.mod", []byte("module github.com/trowel-build/trowel\n\ngo "+p.values.GoVersion+"\n"))
	if err != nil {
		return err
	}
	return fs.WalkDir(source, "sdk", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if inGuests(name) {
				return nil
			}
			return fs.SkipDir
		}
		if strings.HasSuffix(name, "_test.go") || path.Ext(name) != ".go" && path.Ext(name) != ".s" {
			return nil
		}
		content, err := fs.ReadFile(source, name)
		if err != nil {
			return err
		}
		return p.write(at+"/"+name, content)
	})
}

// inGuests says whether a directory of the SDK is of use to a plugin in Go.
func inGuests(dir string) bool {
	return slices.Contains([]string{
		"sdk", "sdk/abi", "sdk/guest", "sdk/objects", "sdk/plugin", "sdk/plugintest", "sdk/process", "sdk/process/wire",
	}, dir)
}
