package service

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestParsePattern(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"minio.example.com":            "minio.example.com",
		"MinIO.Example.com.":           "minio.example.com",
		"https://minio.example.com":    "minio.example.com",
		"minio.example.com:443":        "minio.example.com",
		"minio.example.com:9000":       "minio.example.com:9000",
		"http://minio.example.com":     "http://minio.example.com",
		"HTTP://minio.example.com:80":  "http://minio.example.com",
		"http://minio.example.com:443": "http://minio.example.com:443",
		"*.Example.com:8443":           "*.example.com:8443",
		"xn--bcher-kva.example":        "xn--bcher-kva.example",
		"localhost:5000":               "localhost:5000",
		"10.1.2.3":                     "10.1.2.3",
		"10.1.2.3:443":                 "10.1.2.3:443",
		"http://10.1.2.3:80":           "http://10.1.2.3:80",
		"10.0.0.0/8":                   "10.0.0.0/8",
		"fd00::/8":                     "fd00::/8",
		"FD00::1":                      "[fd00::1]",
		"[fd00::1]:9000":               "[fd00::1]:9000",
		"[::ffff:10.1.2.3]":            "10.1.2.3",
	} {
		p, err := parsePattern(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := p.String(); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}

func TestParsePatternRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                       "no host",
		"https://":                               "no host",
		"*":                                      `"*" stands for`,
		"*.com":                                  "two labels",
		"*.*.example.com":                        `"*" stands for`,
		"minio*.example.com":                     `"*" stands for`,
		"*.10.1.2.3":                             "two labels",
		"ftp://example.com":                      "https or http",
		"example.com/path":                       "must go",
		"https://example.com/":                   "must go",
		"user@example.com":                       "no user name",
		"example.com:0":                          "port",
		"example.com:65536":                      "port",
		"example.com:0443":                       "port",
		"example.com:https":                      "port",
		"exa mple.com":                           "no host name",
		"example..com":                           "no host name",
		"-example.com":                           "dash",
		"bücher.example":                         "xn--",
		"\u212Aelvin.example":                    "xn--",
		"0x7f.1":                                 "four decimal numbers",
		"127.1":                                  "four decimal numbers",
		"2130706433":                             "four decimal numbers",
		"0177.0.0.1":                             "four decimal numbers",
		"fe80::1%eth0":                           "zone",
		"[10.1.2.3]":                             "no host",
		"10.1.2.3/8":                             `write "10.0.0.0/8"`,
		"http://10.0.0.0/8":                      "no scheme",
		"10.0.0.0/33":                            "must go",
		"::ffff:10.0.0.0/104":                    "IPv4",
		strings.Repeat("a", 64):                  "no host name",
		"a." + strings.Repeat("a.", 130) + "com": "no host name",
	} {
		_, err := parsePattern(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
		}
	}
}

func TestPolicyCheck(t *testing.T) {
	t.Parallel()
	p, err := newPolicy("p", []string{
		"minio.example.com:9000", "*.s3.example.com", "http://plain.example.com:8080", "localhost:5000", "10.1.2.3", "[fd00::1]:9000",
		"192.168.0.0/16",
	})
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"https://minio.example.com:9000/x":       "minio.example.com:9000",
		"HTTPS://MINIO.Example.COM.:9000/x":      "minio.example.com:9000",
		"https://user:pw@minio.example.com:9000": "minio.example.com:9000",
		"https://bucket.s3.example.com/":         "bucket.s3.example.com",
		"https://bucket.s3.example.com:443/":     "bucket.s3.example.com",
		"http://plain.example.com:8080/":         "plain.example.com:8080",
		"https://localhost:5000/":                "localhost:5000",
		"https://10.1.2.3/":                      "10.1.2.3",
		"https://[::ffff:10.1.2.3]/":             "10.1.2.3",
		"https://[FD00:0::1]:9000/":              "[fd00::1]:9000",

		"https://minio.example.com/":                  "",
		"http://minio.example.com:9000/":              "",
		"https://evil.example.com:9000/":              "",
		"https://minio.example.com.evil.org:9000/":    "",
		"https://minio.example.com:9000@evil.org/":    "",
		"https://evil.org#@minio.example.com:9000/":   "",
		"https://evil.org?@minio.example.com:9000/":   "",
		"https://evil.org\\@minio.example.com:9000/":  "",
		"https://minio.example.com%2eevil.org:9000/":  "",
		"https://minio.example.com%00.evil.org:9000/": "",
		"https://a.b.s3.example.com/":                 "",
		"https://s3.example.com/":                     "",
		"https://.s3.example.com/":                    "",
		"https://bucket.s3.example.com:444/":          "",
		"https://plain.example.com:8080/":             "",
		"https://localhost/":                          "",
		"https://x.localhost:5000/":                   "",
		"https://192.168.1.1/":                        "", // a range names no host
		"https://0x0a.1.2.3/":                         "",
		"https://10.66051/":                           "",
		"https://167838211/":                          "",
		"https://012.1.2.3/":                          "",
		"https://[fd00::1%25eth0]:9000/":              "",
		"https://[fd00::1]/":                          "",
		"https://[fd00::2]:9000/":                     "",
		"https:minio.example.com:9000":                "",
		"https:///minio.example.com:9000":             "",
		"//minio.example.com:9000/":                   "",
		"file:///etc/passwd":                          "",
		"ftp://minio.example.com:9000/":               "",
		"https://ｍinio.example.com:9000/":             "",
		"https://minio.example.com:09000/":            "",
		"https://minio.example.com:9000:9000/":        "",
	} {
		u, err := parseURL(address)
		var got target
		if err == nil {
			got, err = p.check(u)
		}
		switch {
		case want == "" && err == nil:
			t.Errorf("%s is allowed, as %s", address, got.hostport())
		case want != "" && err != nil:
			t.Errorf("%s: %v", address, err)
		case want != "" && got.hostport() != want:
			t.Errorf("%s goes to %s, want %s", address, got.hostport(), want)
		}
	}
}

func TestPolicyDial(t *testing.T) {
	t.Parallel()
	open, err := newPolicy("p", nil)
	if err != nil {
		t.Fatal(err)
	}
	for addr, what := range map[string]string{
		"8.8.8.8": "", "2606:4700::1111": "", "64:ff9b::808:808": "", "2002:808:808::1": "",
		"127.0.0.1": "loopback", "127.9.9.9": "loopback", "::1": "loopback", "::ffff:127.0.0.1": "loopback",
		"10.1.2.3": "private", "172.31.0.1": "private", "192.168.1.1": "private", "::ffff:10.0.0.1": "private", "fd12::1": "private",
		"fec0::1": "private", "169.254.1.1": "link-local", "fe80::1": "link-local", "fe80::1%lo": "link-local", "100.64.0.1": "CGNAT",
		"0.0.0.0": "unspecified", "0.1.2.3": "unspecified", "::": "unspecified", "224.0.0.1": "multicast", "ff02::1": "multicast",
		"255.255.255.255": "reserved", "240.0.0.1": "reserved", "198.18.0.1": "benchmarks", "64:ff9b::a00:1": "private",
		"64:ff9b::7f00:1": "loopback", "64:ff9b:1::a00:1": "NAT64", "2002:7f00:1::": "loopback", "::7f00:1": "loopback",
		"2001::1": "reserved", "2001:db8::1": "documentation", "169.254.169.254": "cloud", "fd00:ec2::254": "cloud",
		"::ffff:169.254.169.254": "cloud", "64:ff9b::a9fe:a9fe": "cloud", "169.254.170.2": "cloud", "100.100.100.200": "cloud",
	} {
		err := open.dial("minio.example.com", netip.AddrPortFrom(netip.MustParseAddr(addr), 443))
		switch {
		case what == "" && err != nil:
			t.Errorf("%s: %v", addr, err)
		case what != "" && (err == nil || !strings.Contains(err.Error(), what)):
			t.Errorf("%s: error %v, want one with %q", addr, err, what)
		}
	}
}

func TestPolicyDialGranted(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		hosts string
		name  string
		at    string
		want  bool
	}{
		{"10.1.2.3", "a.example.com", "10.1.2.3:9000", true},
		{"10.1.2.3:9000", "a.example.com", "10.1.2.3:9000", true},
		{"10.1.2.3:9000", "a.example.com", "10.1.2.3:443", false},
		{"10.1.2.3:443", "a.example.com", "10.1.2.3:9000", false},
		{"10.1.2.3", "a.example.com", "10.1.2.4:9000", false},
		{"10.1.2.3", "a.example.com", "[::ffff:10.1.2.3]:9000", true},
		{"10.1.2.3", "a.example.com", "[64:ff9b::a01:203]:9000", true},
		{"10.0.0.0/8", "a.example.com", "10.200.0.1:1", true},
		{"10.0.0.0/8", "a.example.com", "[64:ff9b::a01:203]:9000", true},
		{"10.0.0.0/8", "a.example.com", "11.0.0.1:1", true}, // not special
		{"10.0.0.0/8", "a.example.com", "172.16.0.1:1", false},
		{"fd00::/8", "a.example.com", "[fd12::1]:1", true},
		{"fd00::/8", "a.example.com", "[fd00:ec2::254]:80", false},
		{"0.0.0.0/0", "a.example.com", "169.254.169.254:80", false},
		{"0.0.0.0/0", "a.example.com", "127.0.0.1:80", true},
		{"169.254.169.254", "a.example.com", "169.254.169.254:80", true},
		{"localhost:5000", "localhost", "127.0.0.1:5000", true},
		{"localhost:5000", "localhost", "[::1]:5000", true},
		{"localhost:5000", "localhost", "10.0.0.1:5000", false},
		{"localhost:5000", "a.example.com", "127.0.0.1:5000", false},
	} {
		p, err := newPolicy("p", []string{row.hosts})
		if err != nil {
			t.Fatal(err)
		}
		err = p.dial(row.name, netip.MustParseAddrPort(row.at))
		if (err == nil) != row.want {
			t.Errorf("granted %s: dial %s for %s: %v", row.hosts, row.at, row.name, err)
		}
	}
}

func FuzzParsePattern(f *testing.F) {
	for _, s := range []string{"a.example.com:9000", "*.example.com", "http://[::1]:80", "10.0.0.0/8", "0x7f.1", "fd00::443", "a:0443", "[::1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePattern(text)
		if err != nil {
			return
		}
		again, err := parsePattern(p.String())
		if err != nil || again != p {
			t.Fatalf("%q is %q, which is %+v (%v), not %+v", text, p.String(), again, err, p)
		}
		if p.prefix.IsValid() || p.wildcard {
			return
		}
		// What a pattern names is reached by a URL made of it, and nothing else is.
		u, err := url.Parse(p.scheme + "://" + p.hostport() + "/")
		if err != nil {
			t.Fatalf("%q gives the URL of %q: %v", text, p.hostport(), err)
		}
		to, err := parseTarget(u)
		if err != nil || !p.matches(to) {
			t.Fatalf("%q does not match its own %v: %+v, %v", text, u, to, err)
		}
	})
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"https://a.example.com:9000/x?y#z", "https://u:{{secret:x}}@a.b/", "http://[::ffff:1.2.3.4%25a]/", "https://a@b@c/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, address string) {
		u, err := parseURL(address)
		if err != nil {
			return
		}
		to, err := parseTarget(u)
		if err != nil {
			return
		}
		// The form that is sent leads where the form that was checked does.
		sent, err := url.Parse(to.scheme + "://" + to.hostport() + "/")
		if err != nil {
			t.Fatalf("%q goes to %q: %v", address, to.hostport(), err)
		}
		again, err := parseTarget(sent)
		if err != nil || again != to {
			t.Fatalf("%q goes to %+v, and that to %+v: %v", address, to, again, err)
		}
		if strings.ContainsAny(to.hostport(), "/@\\%?# *") {
			t.Fatalf("%q has the host %q", address, to.hostport())
		}
	})
}
