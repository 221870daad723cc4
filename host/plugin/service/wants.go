package service

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Wants are what a plugin asks for, in the words of [Grants].
type Wants struct {
	Hosts   []string
	Env     []string
	Secrets map[string]string // name → use
	Files   []string
}

// Missing lists what is wanted and not granted, a line for each key of the table: "+ hosts: \"a.example.com\"".
func Missing(wants Wants, grants Grants) []string {
	var lines []string
	list := func(key string, wanted []string, granted func(string) bool) {
		var missing []string
		for _, w := range slices.Compact(slices.Sorted(slices.Values(wanted))) {
			if !granted(w) {
				missing = append(missing, fmt.Sprintf("%q", cut(w, 300)))
			}
		}
		if len(missing) > 0 {
			lines = append(lines, "+ "+key+": "+strings.Join(missing, ", "))
		}
	}
	list("hosts", wants.Hosts, func(w string) bool { return Covers(grants.Hosts, w) })
	list("env", wants.Env, func(w string) bool { return slices.Contains(grants.Env, w) })
	var secrets []string
	for _, name := range slices.Sorted(maps.Keys(wants.Secrets)) {
		if g, ok := grants.Secrets[name]; !ok || g.Use != wants.Secrets[name] {
			secrets = append(secrets, fmt.Sprintf("%q (use %q)", cut(name, 80), cut(wants.Secrets[name], 40)))
		}
	}
	if len(secrets) > 0 {
		lines = append(lines, "+ secrets: "+strings.Join(secrets, ", "))
	}
	list("files", wants.Files, func(w string) bool { return grants.Files == nil || slices.Contains(*grants.Files, w) })
	return lines
}

// Covers says whether the granted hosts allow all that the wanted entry would.
func Covers(granted []string, wanted string) bool {
	w, err := parsePattern(wanted)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(granted, func(g string) bool {
		p, err := parsePattern(g)
		return err == nil && p.covers(w)
	})
}

// covers says whether p allows all that w would.
func (p pattern) covers(w pattern) bool {
	switch {
	case p.prefix.IsValid() && w.prefix.IsValid():
		return p.prefix.Bits() <= w.prefix.Bits() && p.prefix.Contains(w.prefix.Addr())
	case p.prefix.IsValid() || w.prefix.IsValid():
		return false
	case w.wildcard:
		return p.wildcard && p.target == w.target
	case w.addr.IsValid() && p.portGiven && !w.portGiven:
		return false
	}
	return p.matches(w.target)
}
