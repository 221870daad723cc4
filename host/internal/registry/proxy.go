package registry

import (
	"fmt"
	"net/url"

	"golang.org/x/net/http/httpproxy"
)

// Proxy says through which proxies registries are reached. What is not set is taken from the environment: HTTP_PROXY,
// HTTPS_PROXY and NO_PROXY, in either letter case. It stands under [proxy] in trowel.toml.
type Proxy struct {
	HTTP  string `toml:"http"`  // for registries without TLS
	HTTPS string `toml:"https"` // for all others
	No    string `toml:"no"`    // hosts, domains and networks that are reached without, separated by commas
}

// Validate says what is wrong with p, if anything.
func (p Proxy) Validate() error {
	for name, address := range map[string]string{"http": p.HTTP, "https": p.HTTPS} {
		if address == "" {
			continue
		}
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5") {
			return fmt.Errorf("proxy.%s must be an address such as http://proxy.example.com:3128", name) // it may hold a password
		}
	}
	return nil
}

// Func answers for each address with its proxy, or nil.
func (p Proxy) Func() func(*url.URL) (*url.URL, error) {
	c := httpproxy.FromEnvironment()
	if p.HTTP != "" {
		c.HTTPProxy = p.HTTP
	}
	if p.HTTPS != "" {
		c.HTTPSProxy = p.HTTPS
	}
	if p.No != "" {
		c.NoProxy = p.No
	}
	return c.ProxyFunc()
}
