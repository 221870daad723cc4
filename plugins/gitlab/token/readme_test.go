package token

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/sdk"
)

// TestReadme takes the README at its word: its tables are read, its rules work, and it grants what is looked at.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, block := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		all.WriteString(block[1])
	}
	var file struct {
		Plugins struct {
			Gitlab struct {
				Allow struct {
					Env     []string
					Secrets map[string]struct{ Env, Use string }
				}
				Config map[string]any
			}
		}
	}
	// Whoever copies all blocks has one file.
	if _, err := toml.Decode(all.String(), &file); err != nil {
		t.Fatalf("%v in\n%s", err, all.String())
	}
	p, err := New(t.Context(), sdk.NewConfig(plain(t, file.Plugins.Gitlab.Config)))
	if err != nil {
		t.Fatal(err)
	}
	env := environment{}
	for _, name := range file.Plugins.Gitlab.Allow.Env {
		env[name] = job()[name]
	}
	ctx := sdk.WithServices(t.Context(), sdk.Services{Env: env})
	got, err := p.Credential(ctx, request("registry.gitlab.example.com/platform/base/debian", "pull"))
	if err != nil || got.Username != "trowel" {
		t.Errorf("the rule of the page: %v, %v", got, err)
	}
	for _, k := range p.(*Provider).settings.kinds {
		if file.Plugins.Gitlab.Allow.Secrets[k.secret].Use != "reply" {
			t.Errorf("the page does not grant the secret %q", k.secret)
		}
	}
	want := []string{varRegistry, varUser, varProject, varProxyServer, varProxyUser, varDeployUser}
	if diff := cmp.Diff(want, file.Plugins.Gitlab.Allow.Env); diff != "" {
		t.Errorf("variables that are read and those that the page grants (-read +granted):\n%s", diff)
	}
	var project struct{ Wants struct{ Env []string } }
	if _, err := toml.DecodeFile("../plugin.toml", &project); err != nil {
		t.Fatal(err)
	}
	for _, name := range project.Wants.Env {
		if !slices.Contains(want, name) {
			t.Errorf("plugin.toml wants %s, which is not read", name)
		}
	}
}

// plain makes of decoded TOML what the host hands to plugins.
func plain(t *testing.T, v map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
