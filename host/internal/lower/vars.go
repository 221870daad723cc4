package lower

import (
	"maps"
	"slices"
	"strings"
)

// vars are variables in the order in which they were set last, as BuildKit passes them to RUN. The zero value is empty.
type vars struct {
	names  []string
	values map[string]string
}

// Get is the value of a variable.
func (v *vars) Get(name string) (string, bool) {
	value, ok := v.values[name]
	return value, ok
}

// Keys are the names of all variables.
func (v *vars) Keys() []string { return v.names }

func (v *vars) set(name, value string) {
	if v.values == nil {
		v.values = map[string]string{}
	}
	if _, ok := v.values[name]; ok {
		v.names = slices.DeleteFunc(v.names, func(n string) bool { return n == name })
	}
	v.names = append(v.names, name)
	v.values[name] = value
}

// list is the variables as "NAME=value".
func (v *vars) list() []string {
	out := make([]string, len(v.names))
	for i, name := range v.names {
		out[i] = name + "=" + v.values[name]
	}
	return out
}

func (v *vars) clone() vars {
	return vars{names: slices.Clone(v.names), values: maps.Clone(v.values)}
}

// cloneMap is a copy of m that can be added to.
func cloneMap[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}

// hasEnv says whether a list of "NAME=value" has a name.
func hasEnv(env []string, name string) bool {
	return slices.ContainsFunc(env, func(kv string) bool {
		n, _, _ := strings.Cut(kv, "=")
		return n == name
	})
}

// setEnv sets a name in a list of "NAME=value", where it stands if it is there.
func setEnv(env []string, name, value string) []string {
	for i, kv := range env {
		if n, _, _ := strings.Cut(kv, "="); n == name {
			env[i] = name + "=" + value
			return env
		}
	}
	return append(env, name+"="+value)
}
