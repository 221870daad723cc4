package registry

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseReference(t *testing.T) {
	t.Parallel()
	const dgst = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for s, want := range map[string]string{
		"debian":                        "docker.io/library/debian:latest",
		"debian:12":                     "docker.io/library/debian:12",
		"docker.io/debian":              "docker.io/library/debian:latest",
		"index.docker.io/team/app":      "docker.io/team/app:latest",
		"team/app@" + dgst:              "docker.io/team/app@" + dgst,
		"team/app:1@" + dgst:            "docker.io/team/app:1@" + dgst,
		"localhost/app":                 "localhost/app:latest",
		"localhost:5000/a/b/c:x":        "localhost:5000/a/b/c:x",
		"registry.example.com/app":      "registry.example.com/app:latest",
		"registry.example.com:443/app":  "registry.example.com:443/app:latest",
		"[::1]:5000/app":                "[::1]:5000/app:latest",
		"registry.example.com/App":      "",
		"debian:":                       "",
		"":                              "",
		"https://registry.example.com/": "",
	} {
		got, err := ParseReference(s)
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "parse image reference") {
				t.Errorf("%q = %s, %v; want an error", s, got, err)
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("%q = %s, %v; want %s", s, got, err, want)
		}
	}
	if got, err := ParseRepository("debian"); err != nil || got != (Repository{Registry: "docker.io", Path: "library/debian"}) {
		t.Errorf("ParseRepository = %v, %v", got, err)
	}
	if got, err := ParseRepository("debian:12"); err == nil {
		t.Errorf("ParseRepository of a tag = %v", got)
	}
}

func TestScheme(t *testing.T) {
	t.Parallel()
	for registry, want := range map[string]string{
		"docker.io":            "https://registry-1.docker.io/v2/a/b",
		"registry.example.com": "https://registry.example.com/v2/a/b",
		"10.0.0.1:5000":        "https://10.0.0.1:5000/v2/a/b",
		"localhost":            "http://localhost/v2/a/b",
		"localhost:5000":       "http://localhost:5000/v2/a/b",
		"a.localhost:5000":     "http://a.localhost:5000/v2/a/b",
		"127.1.2.3:5000":       "http://127.1.2.3:5000/v2/a/b",
		"[::1]:5000":           "http://[::1]:5000/v2/a/b",
		"localhost.evil.com":   "https://localhost.evil.com/v2/a/b",
		"127.0.0.1.evil.com":   "https://127.0.0.1.evil.com/v2/a/b",
	} {
		h, err := newHost(registry, Settings{}, Options{}.withDefaults(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, h.url(Repository{Path: "a"}, "b").String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", registry, diff)
		}
	}
}

func TestIsPrivate(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"10.1.2.3": true, "10.1.2.3:5000": true, "172.16.0.1": true, "172.31.255.255:80": true, "192.168.0.1": true, "172.15.0.1": false,
		"172.32.0.1": false, "8.8.8.8:5000": false, "127.0.0.1": false, "10.example.com": false, "10.1.2.3.example.com": false, "[fd00::1]:5000": false,
		"localhost": false, "": false, "010.1.2.3": false,
		"registry.tools.svc.cluster.local": true, "registry.tools.svc.cluster.local:5000": true, "registry.local": false,
		"svc.cluster.local": false, "registry.svc.cluster.local.example.com": false,
	} {
		if got := IsPrivate(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
