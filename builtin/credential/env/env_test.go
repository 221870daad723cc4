package env

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/trowel-build/trowel/sdk"
)

func TestCredential(t *testing.T) {
	t.Parallel()
	p := New(Config{Environment: []string{
		"TROWEL_REGISTRY_REGISTRY_EXAMPLE_COM_5000_USER=me", "TROWEL_REGISTRY_REGISTRY_EXAMPLE_COM_5000_PASSWORD=a=b",
		"TROWEL_REGISTRY_DOCKER_IO_USER=hub", "TROWEL_REGISTRY_DOCKER_IO_PASSWORD=",
		"TROWEL_REGISTRY_HALF_EXAMPLE_COM_USER=secret-half",
		"TROWEL_REGISTRY_OTHER_EXAMPLE_COM_PASSWORD=secret-half",
		"KANIKO_EXAMPLE_ORG_USER=k", "KANIKO_EXAMPLE_ORG_PASSWORD=org",
		"KANIKO_SUB_EXAMPLE_ORG_USER=k", "KANIKO_SUB_EXAMPLE_ORG_PASSWORD=sub",
		"KANIKO_ORG_USER=k", "KANIKO_ORG_PASSWORD=all",
	}})
	for registry, want := range map[string]struct {
		credential sdk.Credential
		err        string
	}{
		"registry.example.com:5000": {credential: sdk.Credential{Kind: sdk.KindBasic, Username: "me", Secret: "a=b"}},
		"registry.example.com":      {err: "not mine"},
		"a.registry.example.com":    {err: "not mine"},
		"docker.io":                 {credential: sdk.Credential{Kind: sdk.KindBasic, Username: "hub"}},
		"half.example.com":          {err: "TROWEL_REGISTRY_HALF_EXAMPLE_COM_USER is set without TROWEL_REGISTRY_HALF_EXAMPLE_COM_PASSWORD"},
		"other.example.com":         {err: "TROWEL_REGISTRY_OTHER_EXAMPLE_COM_PASSWORD is set without TROWEL_REGISTRY_OTHER_EXAMPLE_COM_USER"},
		"example.org":               {credential: sdk.Credential{Kind: sdk.KindBasic, Username: "k", Secret: "org"}},
		"a.b.example.org":           {credential: sdk.Credential{Kind: sdk.KindBasic, Username: "k", Secret: "org"}},
		"sub.example.org":           {credential: sdk.Credential{Kind: sdk.KindBasic, Username: "k", Secret: "sub"}},
		"another.org":               {err: "not mine"},
	} {
		got, err := p.Credential(t.Context(), sdk.CredentialRequest{Registry: registry})
		if diff := cmp.Diff(want.credential, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", registry, diff)
		}
		if want.err == "" && err != nil || want.err != "" && (err == nil || !strings.Contains(err.Error(), want.err)) {
			t.Errorf("%s: error %v, want %q", registry, err, want.err)
		}
		if err != nil && strings.Contains(err.Error(), "secret-half") {
			t.Errorf("the error shows a value: %v", err)
		}
		if want.err == "not mine" && !errors.Is(err, sdk.ErrNotMine) {
			t.Errorf("%s: error %v, want %v", registry, err, sdk.ErrNotMine)
		}
	}
}
