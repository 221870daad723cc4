package registry

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseChallenges(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][]challenge{
		`Bearer realm="https://auth.example.com/token",service="registry",scope="repository:a/b:pull,push"`: {{
			scheme: "bearer", params: map[string]string{"realm": "https://auth.example.com/token", "service": "registry", "scope": "repository:a/b:pull,push"},
		}},
		`Basic realm="a \"b\""`: {{scheme: "basic", params: map[string]string{"realm": `a "b"`}}},
		`Negotiate, Basic realm=x , Bearer Realm = "y"`: {
			{scheme: "negotiate", params: map[string]string{}},
			{scheme: "basic", params: map[string]string{"realm": "x"}},
			{scheme: "bearer", params: map[string]string{"realm": "y"}},
		},
		`BEARER realm=https://auth.example.com/token,service=x`: {{scheme: "bearer", params: map[string]string{"realm": "https://auth.example.com/token", "service": "x"}}},
		`Bearer realm="unfinished`:                              {{scheme: "bearer", params: map[string]string{}}},
		`"`:                                                     nil,
		``:                                                      nil,
	} {
		if diff := cmp.Diff(want, parseChallenges(value), cmp.AllowUnexported(challenge{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", value, diff)
		}
	}
}

func FuzzParseChallenges(f *testing.F) {
	f.Add(`Bearer realm="https://auth.example.com/token",service="registry",scope="repository:a/b:pull,push"`)
	f.Add(`Negotiate, Basic realm=x , Bearer Realm = "y\""`)
	f.Fuzz(func(t *testing.T, value string) {
		for _, c := range parseChallenges(value) {
			if c.scheme == "" || c.scheme != strings.ToLower(c.scheme) {
				t.Errorf("scheme %q of %q", c.scheme, value)
			}
		}
	})
}
