package service

import "slices"

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
