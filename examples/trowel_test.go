// Package examples has the test of the files beside it that are nobody else's.
package examples

import (
	"encoding"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/trowel-build/trowel/host/config"
)

// TestTour holds trowel.toml against the types that it is read into: it is valid, and has every key that there is.
func TestTour(t *testing.T) {
	t.Parallel()
	c, err := config.Load(config.Sources{Required: "trowel.toml"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"shared", "releases", "deploy", "template"}; !slices.Equal(c.PluginOrder, want) {
		t.Errorf("the plugins are %q, want %q", c.PluginOrder, want)
	}
	if err := c.PluginPolicy.Validate(); err != nil {
		t.Error(err)
	}
	schema, err := jsonschema.NewCompiler().Compile("../plugins/s3/config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, spec := range c.Plugins {
		if spec.Source != "builtin:s3" {
			continue
		}
		if err := schema.Validate(map[string]any(spec.Config)); err != nil {
			t.Errorf("the configuration of %s: %v", name, err)
		}
	}
	var tree map[string]any
	if _, err := toml.DecodeFile("trowel.toml", &tree); err != nil {
		t.Fatal(err)
	}
	for _, key := range missing(reflect.TypeFor[config.Config](), []map[string]any{tree}, "") {
		t.Errorf("trowel.toml does not show the key %s", key)
	}
}

// TestTourTellsOfEnvironment wants each variable that is a setting to be named where the setting is.
func TestTourTellsOfEnvironment(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("trowel.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[config.Build]()) {
		key := field.Tag.Get("toml")
		variable := "TROWEL_" + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
		_, err := config.Load(config.Sources{Getenv: func(name string) string {
			if name == variable {
				return "\x00no value at all"
			}
			return ""
		}})
		if err == nil && !slices.Contains([]string{"cache-dir", "work-dir"}, key) { // those take any text
			t.Errorf("%s is no setting", variable)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, key+" ") && !strings.Contains(line, variable) {
				t.Errorf("the line of %s does not tell of %s", key, variable)
			}
		}
	}
}

// missing are the keys of a type that none of the tables has.
func missing(t reflect.Type, tables []map[string]any, at string) []string {
	var keys []string
	for _, field := range reflect.VisibleFields(t) {
		key := field.Tag.Get("toml")
		if key == "" || key == "-" {
			continue
		}
		name := strings.TrimPrefix(at+"."+key, ".")
		var values []any
		for _, table := range tables {
			if v, ok := table[key]; ok {
				values = append(values, v)
			}
		}
		if len(values) == 0 {
			keys = append(keys, name)
			continue
		}
		keys = append(keys, within(field.Type, values, name)...)
	}
	return keys
}

// within are the keys missing from values of a type.
func within(t reflect.Type, values []any, at string) []string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return nil
	}
	var tables []map[string]any
	for _, v := range values {
		if table, ok := v.(map[string]any); ok {
			tables = append(tables, table)
		}
	}
	switch t.Kind() {
	case reflect.Struct:
		return missing(t, tables, at)
	case reflect.Map:
		var elements []any
		for _, table := range tables {
			elements = slices.AppendSeq(elements, maps.Values(table))
		}
		return within(t.Elem(), elements, at+".NAME")
	}
	return nil
}
