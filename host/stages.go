package host

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/plan"
)

// Listed are the stages of a Dockerfile.
type Listed struct {
	Targets []Target `json:"targets"`
	Sources [][]byte `json:"sources"`
}

// Target is a stage.
type Target struct {
	Name        string    `json:"name,omitempty"`
	Default     bool      `json:"default,omitempty"`
	Description string    `json:"description,omitempty"`
	Base        string    `json:"base,omitempty"`
	Platform    string    `json:"platform,omitempty"`
	Location    *Location `json:"location,omitempty"`
}

// Targets lists the stages of the request's Dockerfile.
func Targets(ctx context.Context, r Request) (*Listed, error) {
	var out *Listed
	err := evaluate(r, plan.WhatTargetNeeds, func(b *build) error {
		if err := b.parse(ctx); err != nil {
			return err
		}
		out = &Listed{Sources: [][]byte{b.text}}
		for _, s := range b.file.Stages {
			out.Targets = append(out.Targets, target(s, s.Index == len(b.file.Stages)-1))
		}
		return nil
	})
	return out, err
}

func target(s *dockerfile.Stage, last bool) Target {
	return Target{
		Name: s.Name, Default: last, Description: s.Comment, Base: s.BaseName, Platform: s.Platform, Location: locate(s.From.Position),
	}
}

// Text is what docker build --call=targets shows.
func (l *Listed) Text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	fmt.Fprint(w, "TARGET\tDESCRIPTION\n")
	for _, t := range l.Targets {
		name := t.Name
		switch {
		case t.Default && name == "":
			name = "(default)"
		case t.Default:
			name += " (default)"
		}
		fmt.Fprintf(w, "%s\t%s\n", name, t.Description)
	}
	_ = w.Flush() // a strings.Builder takes all
	return b.String()
}
