package dockerconfig

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/trowel-build/trowel/sdk"
)

// write makes a file with its directories, and returns the path.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	// A process that another test starts just now must not inherit the open file: a script could not be run then.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func encoded(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

func auths(pairs ...string) string {
	var entries []string
	for i := 0; i < len(pairs); i += 2 {
		entries = append(entries, fmt.Sprintf(`%q:{"auth":%q}`, pairs[i], encoded("u", pairs[i+1])))
	}
	return `{"auths":{` + strings.Join(entries, ",") + `}}`
}

// secretOf asks for a repository's credential and returns its secret, or what the error is.
func secretOf(t *testing.T, p *Provider, repository string) string {
	t.Helper()
	registry, path, _ := strings.Cut(repository, "/")
	got, err := p.Credential(t.Context(), sdk.CredentialRequest{Registry: registry, Repository: path})
	switch {
	case errors.Is(err, sdk.ErrNotMine):
		return "not mine"
	case err != nil:
		return "error: " + err.Error()
	}
	return got.Secret
}

// TestSources has every source name one registry that all name, and one of its own.
func TestSources(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	named := write(t, filepath.Join(dir, "named.json"), auths("all", "2", "second", "2", "third-too", "2"))
	write(t, filepath.Join(dir, "docker", "config.json"), auths("all", "3", "third", "3", "third-too", "3"))
	write(t, filepath.Join(dir, "home", ".docker", "config.json"), auths("all", "4", "fourth", "4"))
	write(t, filepath.Join(dir, "run", "containers", "auth.json"), auths("all", "5", "fifth", "5"))
	write(t, filepath.Join(dir, "home", ".config", "containers", "auth.json"), auths("all", "6", "sixth", "6"))
	environment := []string{
		"DOCKER_AUTH_CONFIG=" + auths("all", "1", "first", "1"), "REGISTRY_AUTH_FILE=" + named,
		"DOCKER_CONFIG=" + filepath.Join(dir, "docker"), "XDG_RUNTIME_DIR=" + filepath.Join(dir, "run"),
	}
	p := New(Config{Environment: environment, Home: filepath.Join(dir, "home")})
	for registry, want := range map[string]string{
		"all": "1", "first": "1", "second": "2", "third": "3", "third-too": "2", "fourth": "4", "fifth": "5", "sixth": "6", "seventh": "not mine",
	} {
		if got := secretOf(t, p, registry); got != want {
			t.Errorf("%s: %s, want %s", registry, got, want)
		}
	}
	podman := write(t, filepath.Join(dir, "podman", "auth.json"), auths("all", "7", "seventh", "7"))
	for environment, want := range map[string]string{"": "7", "XDG_RUNTIME_DIR=" + filepath.Join(dir, "run"): "not mine"} {
		if got := secretOf(t, New(Config{Environment: []string{environment}, Podman: podman}), "seventh"); got != want {
			t.Errorf("Podman's file, %q: %s, want %s", environment, got, want)
		}
	}
	write(t, named, auths("all", "2", "second", "new")) // a job's token was replaced
	if got := secretOf(t, p, "second"); got != "new" {
		t.Errorf("after the file was replaced: %s", got)
	}
}

func TestNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty := write(t, filepath.Join(dir, "empty"), "\n")
	for _, config := range []Config{{}, {Home: dir}, {Environment: []string{"DOCKER_CONFIG=" + dir, "REGISTRY_AUTH_FILE=" + empty}}} {
		if got := secretOf(t, New(config), "registry.example.com/app"); got != "not mine" {
			t.Errorf("%v: %s", config, got)
		}
	}
	missing := New(Config{Environment: []string{"REGISTRY_AUTH_FILE=" + filepath.Join(dir, "missing.json")}})
	if got := secretOf(t, missing, "registry.example.com/app"); !strings.Contains(got, "missing.json: no such file") {
		t.Errorf("a file that was asked for: %s", got)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	p := New(Config{Environment: []string{"DOCKER_AUTH_CONFIG=" + auths(
		"https://index.docker.io/v1/", "hub",
		"https://a.example.com", "a", "b.example.com/v2/", "b", "http://C.example.com:5000/", "c",
		"d.example.com", "d", "d.example.com/team", "team", "d.example.com/team/app", "app",
		"https://e.example.com", "old", "e.example.com", "plain",
	)}})
	for repository, want := range map[string]string{
		"docker.io/library/debian": "hub",
		"a.example.com/x":          "a",
		"b.example.com/x":          "b",
		"c.example.com:5000/x":     "c",
		"c.example.com/x":          "not mine",
		"d.example.com/x":          "d",
		"d.example.com/team":       "team",
		"d.example.com/teams":      "d",
		"d.example.com/team/x":     "team",
		"d.example.com/team/app/x": "app",
		"e.example.com/x":          "plain",
	} {
		if got := secretOf(t, p, repository); got != want {
			t.Errorf("%s: %s, want %s", repository, got, want)
		}
	}
	for registry, want := range map[string]sdk.CredentialScope{"a.example.com": sdk.ScopeRegistry, "d.example.com": sdk.ScopeRepository} {
		got, err := p.Credential(t.Context(), sdk.CredentialRequest{Registry: registry, Repository: "x"})
		if err != nil || got.Scope != want {
			t.Errorf("%s: scope %q, %v; want %q", registry, got.Scope, err, want)
		}
	}
}

func TestEntries(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		entry string
		want  sdk.Credential
		err   string
	}{
		"auth":           {`{"auth":"` + encoded("me", "a:b") + `"}`, sdk.Credential{Kind: sdk.KindBasic, Username: "me", Secret: "a:b"}, ""},
		"unpadded":       {`{"auth":"` + strings.TrimRight(encoded("me", "abc"), "=") + `"}`, sdk.Credential{Kind: sdk.KindBasic, Username: "me", Secret: "abc"}, ""},
		"apart":          {`{"username":"me","password":"pw"}`, sdk.Credential{Kind: sdk.KindBasic, Username: "me", Secret: "pw"}, ""},
		"identity token": {`{"auth":"` + encoded("00000000", "") + `","identitytoken":"idt"}`, sdk.Credential{Kind: sdk.KindIdentity, Secret: "idt"}, ""},
		"registry token": {`{"registrytoken":"rt"}`, sdk.Credential{Kind: sdk.KindBearer, Secret: "rt"}, ""},
		"empty":          {`{}`, sdk.Credential{}, "not mine"},
		"not base64":     {`{"auth":"!secret!"}`, sdk.Credential{}, `read DOCKER_AUTH_CONFIG: auth of "r" is not the base64 of USER:PASSWORD`},
		"no colon":       {`{"auth":"c2VjcmV0"}`, sdk.Credential{}, `auth of "r" is not the base64 of USER:PASSWORD`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := New(Config{Environment: []string{`DOCKER_AUTH_CONFIG={"auths":{"r":` + test.entry + `}}`}})
			got, err := p.Credential(t.Context(), sdk.CredentialRequest{Registry: "r", Repository: "x"})
			got.Scope = ""
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("credential (-want +got):\n%s", diff)
			}
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows the content: %v", err)
			}
		})
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"auths":{"r":{"auth":"secret"}}`:    "is not valid JSON at byte 32 of 32",
		`{"auths":{"r":{"auth":secret}}}`:     "is not valid JSON at byte 23 of 31",
		`{"auths":{"r":{"auth":31337}}}`:      "has a value of the wrong type at byte",
		`{"auths":{"r":"secret"}}`:            "has a value of the wrong type at byte",
		`secret`:                              "is not valid JSON at byte 1 of 6",
		strings.Repeat(" ", maxFile) + "true": "is larger than 4 MiB",
	} {
		path := write(t, filepath.Join(t.TempDir(), "config.json"), text)
		got := secretOf(t, New(Config{Environment: []string{"REGISTRY_AUTH_FILE=" + path}}), "r/x")
		if !strings.Contains(got, path) || !strings.Contains(got, want) {
			t.Errorf("%.40s: %s; want %q", text, got, want)
		}
		if strings.Contains(got, "secret") || strings.Contains(got, "31337") {
			t.Errorf("%.40s: the error shows the content: %s", text, got)
		}
	}
}

// TestHelpers logs each call of a helper and checks that only those run that are needed.
func TestHelpers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, script := range map[string]string{
		"cloud": `echo '{"Username":"u","Secret":"cloud '$server'"}'`,
		"store": `case $server in *hub*|*index.docker.io*|listed*|also*) echo '{"Username":"u","Secret":"store '$server'"}';; *) echo "credentials not found in native keychain"; exit 1;; esac`,
		"broke": `echo secret; exit 1`,
	} {
		write(t, filepath.Join(dir, "docker-credential-"+name), "#!/bin/sh\nread -r server\necho "+name+" $server >> "+dir+"/log\n"+script+"\n")
	}
	p := New(Config{Environment: []string{
		"PATH=" + dir + ":/usr/bin:/bin",
		`DOCKER_AUTH_CONFIG={"auths":{"https://index.docker.io/v1/":{},"listed.example.com":{},"inline.example.com":{"auth":"` + encoded("u", "inline") + `"}},
			"credHelpers":{"cloud.example.com":"cloud","cloud.example.com/team":"store","broke.example.com":"broke","absent.example.com":"absent"},"credsStore":"store"}`,
	}})
	for _, test := range []struct{ repository, want, ran string }{
		{"cloud.example.com/x", "cloud cloud.example.com", "cloud cloud.example.com"},
		{"cloud.example.com/team/x", "cloud cloud.example.com", "store cloud.example.com/team,cloud cloud.example.com"},
		{"docker.io/library/debian", "store https://index.docker.io/v1/", "store https://index.docker.io/v1/"},
		{"listed.example.com/x", "store listed.example.com", "store listed.example.com"},
		{"also.example.com/x", "store also.example.com", "store also.example.com"},
		{"inline.example.com/x", "inline", ""},
		{"unknown.example.com/x", "not mine", "store unknown.example.com"},
		{"broke.example.com/x", "error: ", "broke broke.example.com"},
		{"absent.example.com/x", `error: ask the helper that DOCKER_AUTH_CONFIG names: find credential helper "docker-credential-absent"`, ""},
	} {
		os.Remove(filepath.Join(dir, "log"))
		got := secretOf(t, p, test.repository)
		if !strings.HasPrefix(got, test.want) || strings.Contains(got, "secret") {
			t.Errorf("%s: %s, want %s", test.repository, got, test.want)
		}
		log, err := os.ReadFile(filepath.Join(dir, "log"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		ran := strings.ReplaceAll(strings.TrimSpace(string(log)), "\n", ",")
		if ran != test.ran {
			t.Errorf("%s: ran %q, want %q", test.repository, ran, test.ran)
		}
	}
}
