package cloud_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/builtin/credential/cloud"
	"github.com/trowel-build/trowel/sdk"
)

func provider(t *testing.T, c cloud.Cloud, path string) *cloud.Provider {
	t.Helper()
	p, err := cloud.New(cloud.Config{Cloud: c, Environment: []string{"PATH=" + path}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Only a cloud's own registries are its business, and no look-alike is.
func TestHosts(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]cloud.Cloud{
		"gcr.io": cloud.Google, "eu.gcr.io": cloud.Google, "europe-west1-docker.pkg.dev": cloud.Google, "europe-docker.pkg.dev:443": cloud.Google,
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com":     cloud.Amazon,
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn": cloud.Amazon,
		"123456789012.dkr-ecr.eu-west-1.on.aws":            cloud.Amazon,
		"public.ecr.aws":                                   cloud.Amazon, "me.azurecr.io": cloud.Azure, "me.azurecr.cn": cloud.Azure, "ME.azurecr.io": cloud.Azure,
		"docker.io": "", "evilgcr.io": "", "gcr.io.example.com": "", "azurecr.io": "", "me.azurecr.io.example.com": "", "pkg.dev": "",
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com.example.com": "", "me.azurecr.ioo": "", "registry.gitlab.com": "",
	} {
		for _, c := range []cloud.Cloud{cloud.Google, cloud.Amazon, cloud.Azure} {
			_, err := provider(t, c, "").Credential(t.Context(), sdk.CredentialRequest{Registry: host, Actions: []string{"pull", "push"}})
			if mine := !errors.Is(err, sdk.ErrNotMine); mine != (c == want) {
				t.Errorf("%s answers for %q: %t", c, host, mine)
			}
		}
	}
}

// Without the program what is public can be pulled, and what is refused or pushed fails with the program's name.
func TestWithoutHelper(t *testing.T) {
	t.Parallel()
	p := provider(t, cloud.Google, "")
	for _, tt := range []struct {
		actions string
		reason  sdk.CredentialReason
		fails   bool
	}{
		{"pull", sdk.ReasonInitial, false},
		{"pull", sdk.ReasonUnauthorized, true},
		{"pull,push", sdk.ReasonInitial, true},
	} {
		got, err := p.Credential(t.Context(), sdk.CredentialRequest{Registry: "gcr.io", Repository: "x/y", Actions: strings.Split(tt.actions, ","), Reason: tt.reason})
		if tt.fails != (err != nil) || err == nil && got.Kind != sdk.KindAnonymous {
			t.Errorf("%+v: %v, %v", tt, got, err)
		}
		var hinted interface{ Hint() string }
		if err != nil && (!strings.Contains(err.Error(), "docker-credential-gcr") || errors.Is(err, sdk.ErrNotMine) || !errors.As(err, &hinted)) {
			t.Errorf("%+v: error %v", tt, err)
		}
	}
}

func TestHelper(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := "#!/bin/sh\nread server\necho '{\"Username\":\"AWS\",\"Secret\":\"for '$server'\"}'\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-ecr-login"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := provider(t, cloud.Amazon, dir).Credential(t.Context(), sdk.CredentialRequest{Registry: "public.ecr.aws", Actions: []string{"pull", "push"}})
	if err != nil || got.Username != "AWS" || got.Secret != "for public.ecr.aws" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := cloud.New(cloud.Config{Cloud: "oracle"}); err == nil {
		t.Error("a cloud that nobody knows has a provider")
	}
}
