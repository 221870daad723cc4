package host

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/lower"
	"github.com/trowel-build/trowel/host/internal/plan"
)

// Outlined is what a target takes from whoever builds it.
type Outlined struct {
	Name        string      `json:"name,omitempty"`
	Description string      `json:"description,omitempty"`
	Args        []Parameter `json:"args,omitempty"`
	Secrets     []Required  `json:"secrets,omitempty"`
	SSH         []Required  `json:"ssh,omitempty"`
	Sources     [][]byte    `json:"sources,omitempty"`
}

// Parameter is a build argument.
type Parameter struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Value       string    `json:"value,omitempty"`
	Location    *Location `json:"location,omitempty"`
}

// Required is a secret or an SSH agent.
type Required struct {
	Name     string    `json:"name"`
	Required bool      `json:"required,omitempty"`
	Location *Location `json:"location,omitempty"`
}

// Outline says what the request's target takes from whoever builds it: arguments, secrets and SSH agents.
func Outline(ctx context.Context, r Request) (*Outlined, error) {
	var out *Outlined
	err := evaluate(r, plan.WhatTargetNeeds, func(b *build) error {
		if err := b.parse(ctx); err != nil {
			return err
		}
		lowered, err := b.resolve(ctx)
		if err != nil {
			return err
		}
		o := outliner{
			plan: b.plans[0], lowered: lowered, global: b.plans[0].Arguments(), visited: map[string]bool{},
			args: map[string]lower.Parameter{},
		}
		o.visit(o.plan.Target())
		source := o.plan.Target().Source
		out = &Outlined{Name: source.Name, Description: source.Comment, Sources: [][]byte{b.text}}
		for _, p := range sorted(o.args) {
			out.Args = append(out.Args, Parameter{p.Name, p.Description, p.Value, locate(p.Position)})
		}
		out.Secrets, out.SSH = inFile(o.secrets), inFile(o.ssh)
		return nil
	})
	return out, err
}

// outliner gathers what stages take: what the target says of a name counts before what the stages say that it needs.
type outliner struct {
	plan    *plan.Plan
	lowered loweredStages
	global  map[string]plan.Argument
	visited map[string]bool // stages
	args    map[string]lower.Parameter

	secrets, ssh []Required
}

func (o *outliner) visit(s *plan.Stage) {
	if o.visited[s.ID] {
		return
	}
	o.visited[s.ID] = true
	l := o.lowered[s.ID].Outline
	used := map[string]bool{}
	for _, name := range append(o.fromMentions(s), l.Used...) {
		o.use(used, l, name)
	}
	for _, step := range o.lowered[s.ID].Steps {
		for _, x := range step.Effects {
			if exec, ok := x.(effect.Exec); ok {
				o.mounts(exec.Mounts, step.Instruction.Position)
			}
		}
	}
	for _, id := range s.Needs {
		o.visit(o.plan.Stage(id))
	}
}

func (o *outliner) mounts(all []effect.Mount, at dockerfile.Position) {
	for _, m := range all {
		r := Required{m.ID, m.Need == effect.Required, locate(at)}
		switch m.Kind {
		case effect.MountSecret:
			o.secrets = appendOnce(o.secrets, r)
		case effect.MountSSH:
			o.ssh = appendOnce(o.ssh, r)
		}
	}
}

func appendOnce(list []Required, r Required) []Required {
	if slices.ContainsFunc(list, func(other Required) bool { return other.Name == r.Name }) {
		return list
	}
	return append(list, r)
}

// inFile sorts by line.
func inFile(list []Required) []Required {
	slices.SortStableFunc(list, func(x, y Required) int {
		return cmp.Compare(x.Location.Ranges[0].Start.Line, y.Location.Ranges[0].Start.Line)
	})
	return list
}

// fromMentions are the variables in the FROM of a stage and of those that it is based on.
func (o *outliner) fromMentions(s *plan.Stage) []string {
	if s.Replaced {
		return nil
	}
	all := o.plan.FromMentions(s)
	if s.Base.Stage != "" {
		all = append(all, o.fromMentions(o.plan.Stage(s.Base.Stage))...)
	}
	return all
}

// use adds an argument and the global ones that its value comes from.
func (o *outliner) use(used map[string]bool, l lower.Outline, name string) {
	if used[name] {
		return
	}
	used[name] = true
	if p, ok := l.Args[name]; ok {
		addNew(o.args, p)
		return
	}
	a, ok := o.global[name]
	if !ok {
		return
	}
	addNew(o.args, lower.Parameter{Name: name, Value: a.Value, Description: a.Description, Position: a.Position})
	for _, other := range a.Mentions {
		o.use(used, l, other)
	}
}

func addNew(all map[string]lower.Parameter, p lower.Parameter) {
	if _, ok := all[p.Name]; !ok {
		all[p.Name] = p
	}
}

func sorted(all map[string]lower.Parameter) []lower.Parameter {
	var list []lower.Parameter
	for _, p := range all {
		list = append(list, p)
	}
	slices.SortFunc(list, func(x, y lower.Parameter) int {
		return cmp.Or(cmp.Compare(x.Position.First, y.Position.First), cmp.Compare(x.Name, y.Name))
	})
	return list
}

// Text is what docker build --call=outline shows.
func (o *Outlined) Text() string {
	var b strings.Builder
	table := func(padding int, rows ...string) {
		w := tabwriter.NewWriter(&b, 0, 0, padding, ' ', 0)
		fmt.Fprint(w, strings.Join(rows, ""))
		_ = w.Flush() // a strings.Builder takes all
		b.WriteString("\n")
	}
	if o.Name != "" || o.Description != "" {
		rows := []string{fmt.Sprintf("TARGET:\t%s\n", cmp.Or(o.Name, "(default)"))}
		if o.Description != "" {
			rows = append(rows, fmt.Sprintf("DESCRIPTION:\t%s\n", o.Description))
		}
		table(1, rows...)
	}
	if len(o.Args) > 0 {
		rows := []string{"BUILD ARG\tVALUE\tDESCRIPTION\n"}
		for _, a := range o.Args {
			rows = append(rows, fmt.Sprintf("%s\t%s\t%s\n", a.Name, a.Value, a.Description))
		}
		table(3, rows...)
	}
	for _, kind := range []struct {
		title string
		all   []Required
	}{{"SECRET", o.Secrets}, {"SSH", o.SSH}} {
		if len(kind.all) == 0 {
			continue
		}
		rows := []string{kind.title + "\tREQUIRED\n"}
		for _, r := range kind.all {
			yes := ""
			if r.Required {
				yes = "true"
			}
			rows = append(rows, fmt.Sprintf("%s\t%s\n", r.Name, yes))
		}
		table(3, rows...)
	}
	return b.String()
}
