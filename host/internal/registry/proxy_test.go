package registry

import (
	"net/url"
	"testing"
)

func TestProxySettings(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://environment.example.com:1")
	t.Setenv("HTTPS_PROXY", "http://environment.example.com:2")
	t.Setenv("NO_PROXY", "direct.example.com")
	for name, tt := range map[string]struct {
		proxy   Proxy
		address string
		want    string
	}{
		"environment":      {Proxy{}, "https://r.example.com/v2/", "http://environment.example.com:2"},
		"not for this one": {Proxy{}, "https://direct.example.com/v2/", ""},
		"set":              {Proxy{HTTPS: "http://set.example.com:3"}, "https://r.example.com/v2/", "http://set.example.com:3"},
		"the other is not": {Proxy{HTTPS: "http://set.example.com:3"}, "http://r.example.com/v2/", "http://environment.example.com:1"},
		"another no":       {Proxy{No: "r.example.com"}, "https://r.example.com/v2/", ""},
	} {
		t.Run(name, func(t *testing.T) {
			address, err := url.Parse(tt.address)
			if err != nil {
				t.Fatal(err)
			}
			got, err := tt.proxy.Func()(address)
			if err != nil {
				t.Fatal(err)
			}
			text := ""
			if got != nil {
				text = got.String()
			}
			if text != tt.want {
				t.Errorf("the proxy for %s is %q, want %q", tt.address, text, tt.want)
			}
		})
	}
	for _, bad := range []string{"proxy:3128", "ftp://proxy", "://"} {
		if err := (Proxy{HTTP: bad}).Validate(); err == nil {
			t.Errorf("%q passes for a proxy", bad)
		}
	}
}
