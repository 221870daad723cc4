package match

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/sdk"
)

func TestFits(t *testing.T) {
	t.Parallel()
	for pattern, cases := range map[string]struct{ fits, misses []string }{
		"registry.example.com": {
			fits: []string{"registry.example.com/team/app", "registry.example.com:443/app", "registry.example.com/", "Registry.Example.COM/app"},
			misses: []string{
				"registry.example.com:5000/app", "registry.example.com.evil.test/app", "xregistry.example.com/app",
				"example.com/app", "a.registry.example.com/app", "registry.example.com\n/app", "registry.example.com./app", "/registry.example.com",
			},
		},
		"*.gitlab.example.com": {
			fits:   []string{"registry.gitlab.example.com/app"},
			misses: []string{"gitlab.example.com/app", "a.b.gitlab.example.com/app", ".gitlab.example.com/app", "evil@x.gitlab.example.com/app"},
		},
		"*.dkr.ecr.*.amazonaws.com": {
			fits:   []string{"123.dkr.ecr.eu-central-1.amazonaws.com/app"},
			misses: []string{"123.dkr.ecr.amazonaws.com/app", "123.dkr.ecr.eu.central.amazonaws.com/app", "123.dkr.ecr.x.amazonaws.com.evil.test/app"},
		},
		"reg-*-eu.example.com": {
			fits:   []string{"reg-1-eu.example.com/app", "reg-a-b-eu.example.com/app"},
			misses: []string{"reg-1-us.example.com/app", "reg-1.x-eu.example.com/app", "reg-eu.example.com/app"},
		},
		"registry.example.com:5000": {
			fits:   []string{"registry.example.com:5000/app"},
			misses: []string{"registry.example.com/app", "registry.example.com:50000/app", "registry.example.com:5001/app"},
		},
		"gitlab.example.com:443": {
			fits:   []string{"gitlab.example.com/app", "gitlab.example.com:443/group/dependency_proxy/containers/debian"},
			misses: []string{"gitlab.example.com:4430/app"},
		},
		"localhost:*": {
			fits:   []string{"localhost:5000/app"},
			misses: []string{"localhost/app", "localhost:/app", "localhost:x/app"},
		},
		"[::1]:5000": {
			fits:   []string{"[::1]:5000/app"},
			misses: []string{"[::1]/app", "[::2]:5000/app"},
		},
		"index.docker.io": {fits: []string{"docker.io/library/debian", "index.docker.io/library/debian"}},
		"ghcr.io/acme": {
			fits:   []string{"ghcr.io/acme", "ghcr.io/acme/app", "ghcr.io/acme/a/b"},
			misses: []string{"ghcr.io/acmecorp/app", "ghcr.io/other/acme", "ghcr.io/", "ghcr.io:444/acme"},
		},
		"ghcr.io/acme/*": {
			fits:   []string{"ghcr.io/acme/app", "ghcr.io/acme/a/b"},
			misses: []string{"ghcr.io/acme", "ghcr.io/acme/", "ghcr.io/acme//b"},
		},
		"ghcr.io/*/web-*": {
			fits:   []string{"ghcr.io/acme/web-1", "ghcr.io/x/web-a.b/c"},
			misses: []string{"ghcr.io/acme/app", "ghcr.io/a/b/web-1"},
		},
		"*": {fits: []string{"docker.io/library/debian", "registry.example.com:5000/a", "[::1]:5000/app"}},
	} {
		p, err := Parse(pattern)
		if err != nil {
			t.Error(err)
			continue
		}
		check := func(name string, want bool) {
			registry, repository, _ := strings.Cut(name, "/")
			if got := p.Fits(registry, repository); got != want {
				t.Errorf("%q fits %q: %v, want %v", pattern, name, got, want)
			}
		}
		for _, name := range cases.fits {
			check(name, true)
		}
		for _, name := range cases.misses {
			check(name, false)
		}
	}
	if (Pattern{}).Fits("registry.example.com", "app") {
		t.Error("the zero pattern fits")
	}
}

// TestGlobDoesNotBlowUp has a pattern that takes a naive matcher forever.
func TestGlobDoesNotBlowUp(t *testing.T) {
	t.Parallel()
	pattern := strings.Repeat("*a", 2000) + "b"
	if glob(pattern, strings.Repeat("a", 20000), isPathByte) {
		t.Error("it fits")
	}
}

func TestParseSaysTheCure(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                              "want a host",
		"https://registry.example.com":  `leave out the scheme: "registry.example.com"`,
		"registry.example.com/":         `leave out the slash: "registry.example.com"`,
		"registry..example.com":         "take out the extra dot",
		"registry.example.com/a//b":     "take out the extra slash",
		"registry.example.com/app:1":    "leave out the tag",
		"registry.example.com:":         "want a host",
		"registry.example.com:http":     "want a number for the port",
		"registry.example.com/**":       `write "*" for "**"`,
		"me@registry.example.com":       "want a host",
		"registry.example.com /a":       "want a host",
		"registry.exämple.com":          "letters, digits",
		"registry.example.com/Team/app": "lower-case",
		"[::1":                          "want a host",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) = %v, want %q", text, err, want)
		}
	}
	if _, err := ParseList(nil); err == nil || !strings.Contains(err.Error(), "match is empty") {
		t.Errorf("ParseList() = %v", err)
	}
}

type recorder struct {
	asked  []string
	answer sdk.Credential
	err    error
}

func (r *recorder) Credential(_ context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	r.asked = append(r.asked, request.Registry+"/"+request.Repository)
	return r.answer, r.err
}

func TestProviderIsAskedOnlyWhereItFits(t *testing.T) {
	t.Parallel()
	list, err := ParseList([]string{"ghcr.io/acme", "registry.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	inner := &recorder{answer: sdk.Credential{Kind: sdk.KindBasic, Username: "me", Secret: "s"}}
	p := list.Provider(inner)
	for _, test := range []struct {
		registry, repository string
		mine                 bool
		scope                sdk.CredentialScope
		others               bool // another repository of the registry may be the provider's
	}{
		{"ghcr.io", "acme/app", true, sdk.ScopeRepository, false},
		{"ghcr.io", "other/app", false, "", true},
		{"registry.example.com", "any/app", true, "", false},
		{"registry.example.org", "any/app", false, "", false},
	} {
		got, err := p.Credential(t.Context(), sdk.CredentialRequest{Registry: test.registry, Repository: test.repository, Reason: sdk.ReasonInitial})
		if errors.Is(err, sdk.ErrNotMine) == test.mine || got.Scope != test.scope {
			t.Errorf("%s/%s = %v of scope %q, %v", test.registry, test.repository, got, got.Scope, err)
		}
		if _, ok := errors.AsType[*notHere](err); ok != test.others {
			t.Errorf("%s/%s: the error says that others may be: %v, want %v", test.registry, test.repository, ok, test.others)
		}
	}
	if diff := cmp.Diff([]string{"ghcr.io/acme/app", "registry.example.com/any/app"}, inner.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	inner.err = sdk.ErrNotMine
	_, err = p.Credential(t.Context(), sdk.CredentialRequest{Registry: "registry.example.com", Repository: "x"})
	if _, ok := errors.AsType[*notHere](err); !ok || !errors.Is(err, sdk.ErrNotMine) {
		t.Errorf("a plugin that fits and has nothing: %v", err)
	}
}
