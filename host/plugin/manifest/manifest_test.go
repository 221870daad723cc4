package manifest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/sdk"
)

// full has every field.
func full() Manifest {
	return Manifest{
		ABI: 1, Name: "team.cache-s3", Version: "1.2.0-rc.1+linux", Kinds: []sdk.Kind{sdk.KindCache, sdk.KindCredential},
		Summary: "Keeps the cache in a bucket", Home: "https://example.com/s3", Source: "https://git.example.com/s3", Language: "go",
		Features: []string{"blob-writer"}, ConfigSchema: json.RawMessage(`{"type":"object","required":["bucket"]}`),
		Wants: Wants{
			Hosts: []string{"*.example.com:9000"}, Env: []string{"AWS_REGION"}, Files: []string{"context"},
			Secrets: []Secret{{Name: "s3", Use: "sign-aws4", Summary: "the secret access key"}},
		},
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	if err := full().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*Manifest)
		want   string
	}{
		"no abi":           {func(m *Manifest) { m.ABI = 0 }, "abi is 0"},
		"name with path":   {func(m *Manifest) { m.Name = "../x" }, "name is"},
		"no name":          {func(m *Manifest) { m.Name = "" }, "name is"},
		"version of words": {func(m *Manifest) { m.Version = "1 2" }, "version is"},
		"no kinds":         {func(m *Manifest) { m.Kinds = nil }, "kinds is empty"},
		"unknown kind":     {func(m *Manifest) { m.Kinds = []sdk.Kind{"notary"} }, `kind "notary"`},
		"escape":           {func(m *Manifest) { m.Summary = "\x1b[2J" }, "summary has characters"},
		"direction":        {func(m *Manifest) { m.Home = "https://\u202e" }, "home has characters"},
		"long summary":     {func(m *Manifest) { m.Summary = strings.Repeat("x", 401) }, "summary has 401"},
		"schema":           {func(m *Manifest) { m.ConfigSchema = json.RawMessage(`[1]`) }, "configSchema"},
		"feature":          {func(m *Manifest) { m.Features = []string{"a b"} }, "feature"},
		"host":             {func(m *Manifest) { m.Wants.Hosts = []string{"a b"} }, "wants.hosts"},
		"variable":         {func(m *Manifest) { m.Wants.Env = []string{"A=B"} }, "wants.env"},
		"secret":           {func(m *Manifest) { m.Wants.Secrets[0].Name = "a\nb" }, "wants.secrets"},
		"use":              {func(m *Manifest) { m.Wants.Secrets[0].Use = "read" }, "must be one of sign-aws4"},
		"secret's summary": {func(m *Manifest) { m.Wants.Secrets[0].Summary = "\n" }, "wants.secrets.s3.summary"},
		"files":            {func(m *Manifest) { m.Wants.Files = []string{"/"} }, "wants.files"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := full()
			tt.change(&m)
			err := m.Validate()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Validate = %v, want %q in it", err, tt.want)
			}
			if _, err := Append(module(), m); err == nil {
				t.Error("Append takes it")
			}
		})
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	text, err := json.MarshalIndent(full(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var want, compact any
	if json.Unmarshal(full().ConfigSchema, &want) != nil || json.Unmarshal(got.ConfigSchema, &compact) != nil {
		t.Fatal("schema is no JSON")
	}
	if diff := cmp.Diff(want, compact); diff != "" {
		t.Errorf("schema (-want +got):\n%s", diff)
	}
	got.ConfigSchema = full().ConfigSchema
	if diff := cmp.Diff(full(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, tt := range map[string]struct{ text, want string }{
		"unknown key": {"{\"abi\":1,\n\"nmae\":\"x\"}", `line 2: unknown field "nmae"`},
		"syntax":      {"{\n\"abi\": one}", "line 2: invalid character 'o'"},
		"type":        {"{\n\n\"abi\": \"1\"}", "line 3: cannot unmarshal string"},
		"more":        {`{"abi":1,"name":"x","kinds":["cache"]}{}`, "after the end"},
		"too much":    {strings.Repeat(" ", MaxSize+1), "bytes, and may have"},
		"nothing":     {"", "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Parse([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Parse = %v, want %q in it", err, tt.want)
			}
		})
	}
}
