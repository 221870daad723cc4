package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/host/plugin/service"
)

// Missing is what of the wants has not been granted. Whether a plugin can do without is for the plugin to say, when it
// is refused.
func (w Wants) Missing(granted service.Grants) Wants {
	var missing Wants
	for _, h := range w.Hosts {
		if !service.Covers(granted.Hosts, h) {
			missing.Hosts = append(missing.Hosts, h)
		}
	}
	for _, e := range w.Env {
		if !slices.Contains(granted.Env, e) {
			missing.Env = append(missing.Env, e)
		}
	}
	for _, s := range w.Secrets {
		if g, ok := granted.Secrets[s.Name]; !ok || g.Use != s.Use {
			missing.Secrets = append(missing.Secrets, s)
		}
	}
	for _, f := range w.Files {
		if granted.Files != nil && !slices.Contains(*granted.Files, f) {
			missing.Files = append(missing.Files, f)
		}
	}
	return missing
}

// Empty says whether nothing is wanted.
func (w Wants) Empty() bool {
	return len(w.Hosts) == 0 && len(w.Env) == 0 && len(w.Secrets) == 0 && len(w.Files) == 0
}

// Beyond is what w wants and an earlier version's wants did not.
func (w Wants) Beyond(earlier Wants) Wants {
	before := service.Grants{Hosts: earlier.Hosts, Env: earlier.Env, Secrets: map[string]service.Secret{}, Files: &earlier.Files}
	for _, s := range earlier.Secrets {
		before.Secrets[s.Name] = service.Secret{Use: s.Use}
	}
	return w.Missing(before)
}

// TOML is what the user would write under [plugins.NAME.allow] to grant the wants beside what is granted already.
func (w Wants) TOML(plugin string, granted service.Grants) []string {
	if w.Empty() {
		return nil
	}
	lines := []string{"[plugins." + tomlKey(plugin) + ".allow]"}
	list := func(key string, had, more []string) {
		if len(more) > 0 {
			lines = append(lines, key+" = "+tomlList(append(slices.Clip(had), more...)))
		}
	}
	list("hosts", granted.Hosts, w.Hosts)
	list("env", granted.Env, w.Env)
	if len(w.Files) > 0 && granted.Files != nil {
		list("files", *granted.Files, w.Files)
	}
	for _, s := range w.Secrets {
		line := fmt.Sprintf("secrets.%s = { env = %q, use = %q }", tomlKey(s.Name), variableFor(s.Name), s.Use)
		if s.Summary != "" {
			line += " # " + s.Summary
		}
		lines = append(lines, line)
	}
	return lines
}

// Describe lists wants for people, one a line, such as `host "api.example.com"`.
func (w Wants) Describe() []string {
	var lines []string
	for _, h := range w.Hosts {
		lines = append(lines, "host "+strconv.Quote(h))
	}
	for _, e := range w.Env {
		lines = append(lines, "environment variable "+strconv.Quote(e))
	}
	secrets := map[string]string{}
	for _, s := range w.Secrets {
		line := fmt.Sprintf("secret %q for %s", s.Name, s.Use)
		if s.Summary != "" {
			line += ": " + s.Summary
		}
		secrets[s.Name] = line
	}
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		lines = append(lines, secrets[name])
	}
	for _, f := range w.Files {
		lines = append(lines, "files of the "+f)
	}
	return lines
}

// variableFor is a likely name of the environment variable that has a secret.
func variableFor(secret string) string {
	return strings.ToUpper(strings.ReplaceAll(secret, "-", "_"))
}

// tomlKey is a key as TOML wants it: bare where it can be.
func tomlKey(key string) string {
	if isWord(key, letters+digits+"_-", len(key)) {
		return key
	}
	return strconv.Quote(key)
}

func tomlList(items []string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = strconv.Quote(item)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
