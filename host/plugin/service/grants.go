package service

// Grants are what a user lets a plugin reach: the table [plugins.NAME.allow]. What is not here, a plugin cannot have.
type Grants struct {
	// Hosts are the places that HTTP requests may go to: "minio.example.com:9000", "*.example.com". They are reached by
	// HTTPS, at port 443 unless one is given; "http://HOST:PORT" allows plain HTTP. A loopback, link-local or private
	// address is reached only where an address or a range like "10.0.0.0/8" names it, or the host is named as that address
	// or as "localhost".
	Hosts []string `toml:"hosts"`
	// Env are the names of environment variables that may be read.
	Env []string `toml:"env"`
	// Secrets may be used, never seen.
	Secrets map[string]Secret `toml:"secrets"`
	// Files are the trees that an instruction plugin may read, "context" and "stage"; absent means both.
	Files *[]string `toml:"files"`
}

// Secret is a secret and what it may be used for.
type Secret struct {
	SecretSource
	// Use is "sign-aws4", "hmac-sha256", "header" or "reply".
	Use string `toml:"use"`
	// Hosts are those that the secret may be sent to or signed for; empty means all granted ones, and with "reply" all
	// registries that the plugin is asked about.
	Hosts []string `toml:"hosts"`
}

// SecretSource says where the host finds a secret: exactly one field is set.
type SecretSource struct {
	Env  string `toml:"env"`
	File string `toml:"file"`
}
