//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// edit is what an author does to a file of a new plugin: another text in the place of every occurrence of one, or a new file
// if there is nothing to be replaced.
type edit struct{ file, old, new string }

// releaseEdits make of the new instruction one that reads a file of the build context, writes, runs and labels.
var releaseEdits = []edit{
	{"main.go", `import (
	"context"
`, `import (
	"context"
	"strings"
`},
	{"main.go", `Summary: "write a greeting", Usage: "WHO DEST"`, `Summary: "write what is released", Usage: "FILE DEST"`},
	{"main.go", `Plan(_ context.Context`, `Plan(ctx context.Context`},
	{"main.go", `	write := &sdk.Write{Path: call.Args[1], Content: []byte(h.greeting + ", " + call.Args[0] + "\n")}
	return sdk.Plan{Effects: []sdk.Effect{{Write: write}}}, nil
`, `	text, err := sdk.ReadFile(ctx, sdk.RootContext, call.Args[0])
	if err != nil {
		return sdk.Plan{}, err
	}
	version := strings.TrimSpace(string(text))
	return sdk.Plan{Effects: []sdk.Effect{
		{Write: &sdk.Write{Path: call.Args[1], Content: []byte(h.greeting + " " + version + "\n")}},
		{Exec: &sdk.Exec{Args: []string{"sh", "-c", "sha256sum " + call.Args[1] + " >> /etc/sums && touch -d @1600000000 /etc/sums /etc"}}},
		{Set: &sdk.Set{Field: "label", Values: []string{"org.opencontainers.image.version=" + version}}},
	}}, nil
`},
	{"plugin.toml", "[wants]", "[wants]\nfiles = [\"context\"]"},
}

// shelfEdits give each team a place of its own in the new cache, and a key that the server wants and the plugin never sees.
var shelfEdits = []edit{
	{"main.go", `config.Required("endpoint"), "/")`, `config.Required("endpoint"), "/") + "/" + config.Required("team")`},
	{"main.go", `sdk.HTTPRequest{URL`, `sdk.HTTPRequest{Header: []sdk.Header{{Name: "X-Team-Key", Value: "{{secret:team}}"}}, URL`},
	{"config.schema.json", `"required": ["endpoint"],`, `"required": ["endpoint", "team"],`},
	{"config.schema.json", `"properties": {`, `"properties": {
    "team": { "type": "string" },`},
	{"plugin.toml", "# What `trowel plugin test`", "[wants]\nsecrets.team = { use = \"header\", summary = \"the team's key\" }\n\n# What `trowel plugin test`"},
}

// vaultEdits have the new credential provider fetch a password from where only a process gets one: it asks the network itself.
var vaultEdits = []edit{
	{"main.go", `import (
	"context"
	"slices"
`, `import (
	"context"
	"io"
	"net/http"
	"slices"
`},
	{"main.go", `	username   string
}`, `	username   string
	vault      string
}`},
	{"main.go", `config.String("username", "token")}`, `config.String("username", "token"), vault: config.Required("vault")}`},
	{"main.go", `Credential(_ context.Context`, `Credential(ctx context.Context`},
	{"main.go", `	return sdk.Credential{Kind: sdk.KindBasic, Username: p.username, Secret: "{{secret:token}}"}, nil
`, `	question, err := http.NewRequestWithContext(ctx, http.MethodGet, p.vault+"/password", nil)
	if err != nil {
		return sdk.Credential{}, err
	}
	answer, err := http.DefaultClient.Do(question)
	if err != nil {
		return sdk.Credential{}, err
	}
	defer answer.Body.Close()
	password, err := io.ReadAll(answer.Body)
	if err != nil {
		return sdk.Credential{}, err
	}
	return sdk.Credential{Kind: sdk.KindBasic, Username: p.username, Secret: string(password)}, nil
`},
	{"config.schema.json", `"properties": {`, `"properties": {
    "vault": { "type": "string" },`},
	{"plugin.toml", `secrets.token = `, `# secrets.token = `},
}

// outsideModule makes a module of its own with `trowel plugin new`, edits it, and builds it without a network. It returns the
// path of the plugin.
func outsideModule(t *testing.T, trowel, kind, name string, edits []edit, build ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	env := offline(t)
	authorRun(t, env, "", trowel, "plugin", "new", kind, dir)
	for _, e := range edits {
		file := filepath.Join(dir, e.file)
		text := e.new
		if e.old != "" {
			old, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(old), e.old) {
				t.Fatalf("what `trowel plugin new %s` made has in %s no\n%s", kind, e.file, e.old)
			}
			text = strings.ReplaceAll(string(old), e.old, e.new)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := authorRun(t, env, dir, trowel, append([]string{"plugin", "build"}, build...)...)
	importsOnlySDK(t, env, dir)
	plugin := strings.TrimSpace(out)
	if !filepath.IsAbs(plugin) {
		plugin = filepath.Join(dir, plugin)
	}
	return plugin
}

// importsOnlySDK demands that of Trowel a module has the SDK and nothing else.
func importsOnlySDK(t *testing.T, env []string, dir string) {
	t.Helper()
	for _, name := range strings.Fields(authorRun(t, env, dir, "go", "list", "-deps", ".")) {
		if rest, ours := strings.CutPrefix(name, "github.com/trowel-build/trowel/"); ours && rest != "sdk" && !strings.HasPrefix(rest, "sdk/") {
			t.Errorf("the module in %q has the package %s: want those of the SDK alone", filepath.Base(dir), name)
		}
	}
}

// offline is the environment of an author without a network.
func offline(t *testing.T) []string {
	t.Helper()
	cache, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GOCACHE=" + strings.TrimSpace(string(cache)),
		"GOPROXY=off", "GOFLAGS=-mod=mod", "GOWORK=off", "GOTOOLCHAIN=local",
	}
}

// authorRun runs a command and returns what it prints.
func authorRun(t *testing.T, env []string, dir, name string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}
