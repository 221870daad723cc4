package token

import "strings"

// pattern is what a rule is about, written as the patterns of "match" in trowel.toml are: a host with its port, and a path
// that holds for all below it, with "*" for one label or element or for a part of one.
type pattern struct {
	host     string
	elements []string
}

// parsePattern reads a pattern, or says what is wrong with it.
func parsePattern(text string) (p pattern, reason string) {
	host, path, hasPath := strings.Cut(text, "/")
	switch {
	case strings.Contains(text, "://"):
		return p, "leave out the scheme"
	case host == "" || strings.ContainsAny(text, " \t\r\n@?#%\\"):
		return p, `want a host with an optional path, such as "registry.example.com/group/*"`
	case strings.Contains(text, "**"):
		return p, `"*" is for one label or element, and a path holds for all below it: write "*" for "**", or leave it out`
	}
	p.host = canonicalHost(host)
	if !hasPath {
		return p, ""
	}
	p.elements = strings.Split(strings.TrimSuffix(path, "/"), "/")
	for _, e := range p.elements {
		switch {
		case e == "":
			return p, "an element of the path is empty: take out the extra slash"
		case strings.Contains(e, ":"):
			return p, "leave out the tag: a token is for repositories"
		case e != strings.ToLower(e):
			return p, "registries write paths in lower case, whatever the project is called: do so too"
		}
	}
	return p, ""
}

// canonicalHost is a registry's name in the form that can be compared: GitLab names the dependency proxy with the port
// that is the default one.
func canonicalHost(host string) string {
	return strings.TrimSuffix(strings.ToLower(host), ":443")
}

// fits says whether the pattern is about a repository.
func (p pattern) fits(registry, repository string) bool {
	if !allFit(strings.Split(p.host, "."), strings.Split(canonicalHost(registry), ".")) {
		return false
	}
	if len(p.elements) == 0 {
		return true
	}
	elements := strings.Split(repository, "/")
	return len(elements) >= len(p.elements) && allFit(p.elements, elements[:len(p.elements)])
}

func allFit(patterns, values []string) bool {
	if len(patterns) != len(values) {
		return false
	}
	for i, p := range patterns {
		if values[i] == "" || !glob(p, values[i]) {
			return false
		}
	}
	return true
}

// glob says whether a pattern with "*" fits a value. A "*" stands for what a name has, and for no port.
func glob(pattern, value string) bool {
	star, from := -1, 0
	i, j := 0, 0
	for j < len(value) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, from = i, j
			i++
		case i < len(pattern) && pattern[i] == value[j]:
			i++
			j++
		case star >= 0 && isNameByte(value[from]):
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[i:], "*") == ""
}

func isNameByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '-' || b == '_' || b == '.'
}
