package config

import (
	"strings"
	"testing"
)

// FuzzDecode reads any text as trowel.toml. An error names the file; what is accepted can be validated.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		"", "[build]\ncompression = \"zstd\"\ncache-size = \"20GiB\"\ntree-memory = \"-1\"\n", "[registry.\"docker.io\"]\nmirrors = [\"m/hub\"]\n",
		"[plugins.x]\nkind = \"cache\"\nsource = \"builtin:s3\"\nroles = [\"read\"]\n[plugins.x.allow]\nsecrets.a = { env = \"A\", use = \"header\" }\n[plugins.x.config]\na = [1, {b = 1979-05-27}]\n",
		"[proxy]\nhttps = 1", "[plugin-policy]\nkeys = [\"k\"]\n", "[buidl]\n", "a.b.c.d = 1", "[plugins.x]\n[plugins.x]\n", "x = \"\\u0000\"", "\xff", "[[build]]", "build = 1",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var c Config
		if err := decode(&c, "trowel.toml", text); err != nil {
			if !strings.Contains(err.Error(), "trowel.toml") {
				t.Errorf("the error does not name the file: %v", err)
			}
			return
		}
		_ = c.validate()
	})
}
