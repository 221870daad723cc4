package config

import (
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write the schema anew")

// TestSchema holds that trowel.schema.json, which editors read, is the schema of [Config] with its comments as they are now.
func TestSchema(t *testing.T) {
	t.Parallel()
	w := &schemaWriter{comments: map[string]string{}}
	for _, dir := range []string{".", "../plugin", "../plugin/service", "../plugin/artifact", "../internal/registry"} {
		w.readComments(t, dir)
	}
	root := w.schema(reflect.TypeFor[Config]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = "https://github.com/trowel-build/trowel/host/config/trowel.schema.json"
	root["title"] = "trowel.toml"
	want, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile("trowel.schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("trowel.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("run go test ./host/config -update (-want +got):\n%s", diff)
	}
}

// TestSchemaAccepts holds that the schema takes what Load takes, and refuses what it refuses.
func TestSchemaAccepts(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("trowel.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("s", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("s")
	if err != nil {
		t.Fatal(err)
	}
	full := `
[build]
compression = "zstd"
cache-size = "20GiB"
tree-memory = 0
[registry."docker.io"]
mirrors = ["m.example.com"]
[proxy]
https = "http://proxy.example.com"
[plugins.a]
kind = "cache"
source = "builtin:s3"
record-key = { env = "KEY" }
[plugins.a.allow]
hosts = ["h.example.com"]
secrets.s3 = { env = "X", use = "sign-aws4" }
[plugins.a.limits]
memory = "64MiB"
timeout = "10s"
[plugins.a.config]
anything = [1, "two"]
[plugin-policy]
require-signature = true
keys = ["k.pem"]
`
	for name, tt := range map[string]struct {
		text  string
		valid bool
	}{
		"all tables":  {full, true},
		"unknown key": {"[build]\ncompresion = 'gzip'\n", false},
		"wrong type":  {"[plugins.a]\nkind = 'cache'\nsource = 'builtin:s3'\nroles = 'read'\n", false},
		"wrong kind":  {"[plugins.a]\nkind = 'caches'\nsource = 'builtin:s3'\n", false},
	} {
		var value map[string]any
		if _, err := toml.Decode(tt.text, &value); err != nil {
			t.Fatal(err)
		}
		plain, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		instance, err := jsonschema.UnmarshalJSON(strings.NewReader(string(plain)))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(instance); (err == nil) != tt.valid {
			t.Errorf("%s: the schema says %v", name, err)
		}
		if _, err := Load(Sources{Required: write(t, tt.text)}); (err == nil) != tt.valid {
			t.Errorf("%s: Load says %v", name, err)
		}
	}
}

// schemaWriter makes JSON Schema of types.
type schemaWriter struct {
	comments map[string]string // by "package.Type.Field"
}

func (w *schemaWriter) readComments(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			s, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, f := range s.Fields.List {
				text := f.Doc.Text()
				if text == "" {
					text = f.Comment.Text()
				}
				for _, id := range f.Names {
					w.comments[file.Name.Name+"."+spec.Name.Name+"."+id.Name] = strings.Join(strings.Fields(text), " ")
				}
			}
			return true
		})
	}
}

// words are the values that a setting can have, by its place.
func words(place string) []string {
	return map[string][]string{
		"config.Build.Compression": {"gzip", "zstd", "none"},
		"plugin.Spec.Kind":         {"cache", "credential", "instruction"},
		"plugin.Spec.Trust":        {"native"},
		"service.Secret.Use":       {"sign-aws4", "hmac-sha256", "header", "reply"},
		"registry.Settings.TLS":    {"verify", "skip", "insecure", "off"},
	}[place]
}

func (w *schemaWriter) schema(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return map[string]any{"type": "string", "pattern": "^[0-9].*(h|m|s|ms|us|ns)$"}
	case t.Name() == "Bytes":
		return map[string]any{"type": []string{"string", "integer"}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return w.schema(t.Elem())
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": w.schema(t.Elem())}
	case reflect.Map:
		if t.Elem().Kind() == reflect.Interface {
			return map[string]any{"type": "object"}
		}
		return map[string]any{"type": "object", "additionalProperties": w.schema(t.Elem())}
	}
	properties := map[string]any{}
	for _, f := range reflect.VisibleFields(t) {
		tag := f.Tag.Get("toml")
		if tag == "" || tag == "-" {
			continue
		}
		of := t
		if len(f.Index) > 1 {
			of = t.FieldByIndex(f.Index[:1]).Type
		}
		place := filepath.Base(of.PkgPath()) + "." + of.Name() + "." + f.Name
		s := w.schema(f.Type)
		if text := w.comments[place]; text != "" {
			s["description"] = text
		}
		if list := words(place); list != nil {
			s["enum"] = list
		}
		properties[tag] = s
	}
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}
