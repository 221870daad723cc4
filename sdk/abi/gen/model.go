package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// model is what is to be generated from.
type model struct {
	types  map[string]*typ // by package and name: "sdk.Call"
	groups []group
}

// group is the operations of one kind, which have a schema together.
type group struct {
	name string
	ops  []operation
}

// operation is a constant of op.go.
type operation struct {
	name, number, request, response string
}

// typ is a struct, or a type over a basic one, with its constants.
type typ struct {
	name   string // with its package
	doc    string
	basic  string // "string", say; empty for a struct
	fields []field
	values []value
}

type field struct {
	name, json, doc string
	omit            bool
	of              *shape
}

type value struct{ text, doc string }

// form says how the codec deals with a value.
type form string

const (
	formString  form = "String"
	formInt     form = "Int"
	formBool    form = "Bool"
	formBytes   form = "Bytes"
	formTime    form = "Time"
	formTable   form = "Table"
	formStruct  form = "struct"
	formPointer form = "pointer"
	formList    form = "list"
)

// shape is the type of a field: its form, how Go writes it, and what it points to or lists.
type shape struct {
	form form
	text string
	elem *shape
}

// load reads the packages.
func load(dir string) (*model, error) {
	m := &model{types: map[string]*typ{}}
	for _, pkg := range []struct{ name, dir string }{{"sdk", filepath.Dir(abs(dir))}, {"abi", dir}} {
		names, err := filepath.Glob(filepath.Join(pkg.dir, "*.go"))
		if err != nil {
			return nil, err
		}
		var files []*ast.File
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") || filepath.Base(name) == "codec_gen.go" {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				return nil, err
			}
			files = append(files, file)
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("read package %s: no Go files in %q", pkg.name, pkg.dir)
		}
		if err := m.read(pkg.name, files); err != nil {
			return nil, err
		}
	}
	if len(m.groups) == 0 {
		return nil, fmt.Errorf("read package abi: op.go names no messages")
	}
	return m, nil
}

func abs(dir string) string {
	if a, err := filepath.Abs(dir); err == nil {
		return a
	}
	return dir
}

// read takes the types of a package, then what refers to them.
func (m *model) read(pkg string, files []*ast.File) error {
	specs := map[string]*ast.TypeSpec{}
	var consts []*ast.ValueSpec
	for _, file := range files {
		for _, decl := range file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range gen.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					specs[spec.Name.Name] = spec
					m.declare(pkg, spec, spec.Name.IsExported() && spec.TypeParams == nil, gen.Doc)
				case *ast.ValueSpec:
					if gen.Tok == token.CONST {
						consts = append(consts, spec)
					}
				}
			}
		}
	}
	for name, spec := range specs {
		if st, ok := spec.Type.(*ast.StructType); ok && m.types[pkg+"."+name] != nil {
			fields, err := m.fieldsOf(pkg, st)
			if err != nil {
				return fmt.Errorf("read type %s.%s: %w", pkg, name, err)
			}
			m.types[pkg+"."+name].fields = fields
		}
	}
	return m.readConsts(pkg, consts)
}

func (m *model) declare(pkg string, spec *ast.TypeSpec, wanted bool, doc *ast.CommentGroup) {
	t := &typ{name: pkg + "." + spec.Name.Name, doc: textOf(doc)}
	switch kind := spec.Type.(type) {
	case *ast.Ident:
		t.basic = kind.Name
	case *ast.StructType:
	default:
		return
	}
	if wanted {
		m.types[t.name] = t
	}
}

// fieldsOf are the fields of a struct that have a json tag; a struct without tags is no message.
func (m *model) fieldsOf(pkg string, st *ast.StructType) ([]field, error) {
	var fields []field
	for _, f := range st.Fields.List {
		if f.Tag == nil || len(f.Names) != 1 {
			continue
		}
		tag, err := strconv.Unquote(f.Tag.Value)
		if err != nil {
			return nil, err
		}
		name, options, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
		of, err := m.shapeOf(pkg, f.Type)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Names[0].Name, err)
		}
		fields = append(fields, field{
			name: f.Names[0].Name, json: name, omit: options == "omitempty" || options == "omitzero", of: of,
			doc: strings.TrimSpace(textOf(f.Doc) + " " + textOf(f.Comment)),
		})
	}
	return fields, nil
}

// shapeOf resolves a type expression.
func (m *model) shapeOf(pkg string, expr ast.Expr) (*shape, error) {
	switch e := expr.(type) {
	case *ast.Ident:
		if t := m.types[pkg+"."+e.Name]; t != nil {
			return shapeOfType(t)
		}
		return basicShape(e.Name, e.Name)
	case *ast.SelectorExpr:
		text := e.X.(*ast.Ident).Name + "." + e.Sel.Name
		switch {
		case text == "time.Time":
			return &shape{form: formTime, text: text}, nil
		case text == "fs.FileMode":
			return &shape{form: formInt, text: text}, nil
		case m.types[text] != nil:
			return shapeOfType(m.types[text])
		}
	case *ast.StarExpr:
		elem, err := m.shapeOf(pkg, e.X)
		if err != nil {
			return nil, err
		}
		return &shape{form: formPointer, text: "*" + elem.text, elem: elem}, nil
	case *ast.ArrayType:
		if id, ok := e.Elt.(*ast.Ident); ok && id.Name == "byte" {
			return &shape{form: formBytes, text: "[]byte"}, nil
		}
		elem, err := m.shapeOf(pkg, e.Elt)
		if err != nil {
			return nil, err
		}
		return &shape{form: formList, text: "[]" + elem.text, elem: elem}, nil
	case *ast.MapType:
		return &shape{form: formTable, text: "map[string]any"}, nil
	}
	return nil, fmt.Errorf("the codec knows no type like %T", expr)
}

func shapeOfType(t *typ) (*shape, error) {
	text := strings.TrimPrefix(t.name, "abi.")
	if t.basic == "" {
		return &shape{form: formStruct, text: text}, nil
	}
	return basicShape(t.basic, text)
}

func basicShape(basic, text string) (*shape, error) {
	switch basic {
	case "string":
		return &shape{form: formString, text: text}, nil
	case "int", "int64", "uint32":
		return &shape{form: formInt, text: text}, nil
	case "bool":
		return &shape{form: formBool, text: text}, nil
	}
	return nil, fmt.Errorf("the codec does not know the type %s", text)
}

// messagesOf finds "Request → Response" in the comment of an operation.
var messagesOf = regexp.MustCompile(`^([\w.]+) → ([\w.]+)`)

func (m *model) readConsts(pkg string, consts []*ast.ValueSpec) error {
	for _, spec := range consts {
		id, ok := spec.Type.(*ast.Ident)
		if !ok || len(spec.Values) != 1 {
			continue
		}
		lit, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			continue
		}
		doc, name := textOf(spec.Comment), spec.Names[0].Name
		if id.Name != "Op" && id.Name != "HostOp" {
			if t := m.types[pkg+"."+id.Name]; t != nil && t.basic == "string" {
				text, err := strconv.Unquote(lit.Value)
				if err != nil {
					return err
				}
				t.values = append(t.values, value{text, doc})
			}
			continue
		}
		found := messagesOf.FindStringSubmatch(doc)
		if found == nil {
			return fmt.Errorf("constant %s: its comment names no messages", name)
		}
		op := operation{name: name, number: lit.Value}
		for i, to := range []*string{&op.request, &op.response} {
			if *to = found[i+1]; !strings.Contains(*to, ".") {
				*to = "abi." + *to
			}
			if m.types[*to] == nil {
				return fmt.Errorf("constant %s: there is no type %s", name, *to)
			}
		}
		if err := m.addOperation(id.Name, op); err != nil {
			return err
		}
	}
	return nil
}

// groupNames are the kinds of operations by the tens of their numbers; those of the host are a group of their own.
var groupNames = map[int]string{0: "hello", 1: "cache", 2: "credential", 3: "instruction"}

func (m *model) addOperation(kind string, op operation) error {
	n, err := strconv.Atoi(op.number)
	if err != nil {
		return err
	}
	name := "host"
	if kind == "Op" {
		if name = groupNames[n/10]; name == "" {
			return fmt.Errorf("constant %s: there is no group for the number %d", op.name, n)
		}
	}
	for i := range m.groups {
		if m.groups[i].name == name {
			m.groups[i].ops = append(m.groups[i].ops, op)
			return nil
		}
	}
	m.groups = append(m.groups, group{name: name, ops: []operation{op}})
	return nil
}

// messages are the types that operations carry, sorted.
func (m *model) messages() []string {
	var names []string
	for _, g := range m.groups {
		for _, op := range g.ops {
			names = append(names, op.request, op.response)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// reach are the structs and named types that those of the names are made of, themselves included, sorted.
func (m *model) reach(names ...string) []string {
	seen := map[string]bool{}
	var visit func(s *shape)
	add := func(name string) {
		if t := m.types[name]; t != nil && !seen[name] {
			seen[name] = true
			for _, f := range t.fields {
				visit(f.of)
			}
		}
	}
	visit = func(s *shape) {
		if s.elem != nil {
			visit(s.elem)
			return
		}
		add(qualified(s.text))
	}
	for _, name := range names {
		add(name)
	}
	var out []string
	for name := range seen {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func qualified(text string) string {
	if strings.Contains(text, ".") {
		return text
	}
	return "abi." + text
}

func textOf(doc *ast.CommentGroup) string {
	return strings.Join(strings.Fields(doc.Text()), " ")
}
