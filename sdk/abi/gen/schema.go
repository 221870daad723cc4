package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
)

const schemaBase = "https://github.com/trowel-build/trowel/sdk/abi/schema/1/"

// titles are what the schemas of the groups are called.
var titles = map[string]string{
	"hello":       "Trowel plugin ABI 1: the first operation",
	"cache":       "Trowel plugin ABI 1: operations of caches",
	"credential":  "Trowel plugin ABI 1: operations of credential providers",
	"instruction": "Trowel plugin ABI 1: operations of instruction handlers",
	"host":        "Trowel plugin ABI 1: operations of the host",
}

// object is a JSON object whose fields keep their order.
type object []member

type member struct {
	name  string
	value any
}

// MarshalJSON writes o in the order of its members.
func (o object) MarshalJSON() ([]byte, error) {
	var w bytes.Buffer
	w.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			w.WriteByte(',')
		}
		for j, part := range []any{m.name, m.value} {
			if j > 0 {
				w.WriteByte(':')
			}
			e := json.NewEncoder(&w)
			e.SetEscapeHTML(false)
			if err := e.Encode(part); err != nil {
				return nil, err
			}
			w.Truncate(w.Len() - 1) // the line end
		}
	}
	w.WriteByte('}')
	return w.Bytes(), nil
}

// schemas makes a schema for each group of operations, and one of the envelope.
func (m *model) schemas() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, g := range m.groups {
		var names []string
		ops := object{}
		for _, op := range g.ops {
			names = append(names, op.request, op.response)
			ops = append(ops, member{op.number, object{
				{"name", op.name}, {"request", refTo(op.request)}, {"response", refTo(op.response)},
			}})
		}
		schema := append(head(g.name, titles[g.name]), member{"operations", ops}, member{"$defs", m.defs(names...)})
		if err := put(files, g.name, schema); err != nil {
			return nil, err
		}
	}
	envelope := append(head("envelope", "Trowel plugin ABI 1: the answer to every operation"),
		member{"type", "object"},
		member{"properties", object{
			{"ok", object{{"description", "The message that the operation answers with."}, {"type", "object"}}},
			{"error", refTo("sdk.Error")},
		}},
		member{"oneOf", []object{{{"required", []string{"ok"}}}, {{"required", []string{"error"}}}}},
		member{"$defs", m.defs("sdk.Error")})
	return files, put(files, "envelope", envelope)
}

func head(name, title string) object {
	return object{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"$id", schemaBase + name + ".schema.json"},
		{"title", title},
	}
}

func put(files map[string][]byte, name string, schema object) error {
	compact, err := schema.MarshalJSON()
	if err != nil {
		return err
	}
	var w bytes.Buffer
	if err := json.Indent(&w, compact, "", "  "); err != nil {
		return err
	}
	w.WriteByte('\n')
	files["schema/"+name+".schema.json"] = w.Bytes()
	return nil
}

func refTo(name string) object { return object{{"$ref", "#/$defs/" + bareOf(name)}} }

func (m *model) defs(names ...string) object {
	defs := object{}
	for _, name := range m.reach(names...) {
		defs = append(defs, member{m.types[name].bare(), m.types[name].schema()})
	}
	return defs
}

func (t *typ) schema() object {
	schema := object{}
	doc := t.plain(t.doc)
	if t.basic != "" {
		var values []string
		for _, v := range t.values {
			values = append(values, v.text)
			if v.doc != "" {
				doc += "\n- \"" + v.text + "\": " + plainLinks(v.doc)
			}
		}
		schema = append(schema, member{"description", doc}, member{"type", "string"})
		if len(values) > 0 {
			schema = append(schema, member{"enum", values})
		}
		return schema
	}
	properties, required := object{}, []string{}
	for _, f := range t.fields {
		property := object{}
		if f.doc != "" {
			property = append(property, member{"description", t.plain(f.doc)})
		}
		properties = append(properties, member{f.json, append(property, f.of.schema()...)})
		if !f.omit {
			required = append(required, f.json)
		}
	}
	schema = append(schema, member{"description", doc}, member{"type", "object"})
	if len(properties) > 0 {
		schema = append(schema, member{"properties", properties})
	}
	if len(required) > 0 {
		schema = append(schema, member{"required", required})
	}
	return schema
}

func (s *shape) schema() object {
	switch s.form {
	case formString:
		if s.text == "string" {
			return object{{"type", "string"}}
		}
		return refTo(s.text)
	case formBool:
		return object{{"type", "boolean"}}
	case formInt:
		if s.text == "uint32" || s.text == "fs.FileMode" {
			return object{{"type", "integer"}, {"minimum", 0}, {"maximum", 1<<32 - 1}}
		}
		return object{{"type", []string{"integer", "string"}}, {"pattern", "^-?[0-9]+$"}}
	case formBytes:
		return object{{"type", "string"}, {"contentEncoding", "base64"}}
	case formTime:
		return object{{"type", "string"}, {"format", "date-time"}}
	case formTable:
		return object{{"type", "object"}}
	case formPointer:
		return s.elem.schema()
	case formList:
		return object{{"type", "array"}, {"items", s.elem.schema()}}
	}
	return refTo(s.text)
}

var links = regexp.MustCompile(`\[\*?([A-Z][\w.]*)\]`)

func plainLinks(doc string) string { return links.ReplaceAllString(doc, "$1") }

// plain turns a Go comment into one for other languages: without links, and with fields called as JSON calls them.
func (t *typ) plain(doc string) string {
	doc = plainLinks(doc)
	for _, f := range t.fields {
		if strings.Contains(doc, f.name) {
			doc = regexp.MustCompile(`\b`+f.name+`\b`).ReplaceAllString(doc, f.json)
		}
	}
	return doc
}
