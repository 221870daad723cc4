package service

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

const (
	maxSecret  = 16 << 10
	sealPrefix = "sealed-"
	// fileKept is how long a secret from a file is used before the file is read again: some are renewed in place.
	fileKept = time.Minute
)

// vault has the secrets of a plugin. It reads each when it is first used, and says for what it may be used.
type vault struct {
	plugin   string
	grants   map[string]Secret
	hosts    map[string][]pattern // of those grants that name hosts
	getenv   func(string) string
	readFile func(string) ([]byte, error)
	now      func() time.Time
	redactor *Redactor
	seals    map[string]string // what stands for a secret in what is signed → its name

	mu     sync.Mutex
	values map[string]secretValue
}

type secretValue struct {
	text string
	read time.Time
}

func newVault(o Options, redactor *Redactor) (*vault, error) {
	v := &vault{
		plugin: o.Plugin, grants: o.Grants.Secrets, hosts: map[string][]pattern{}, getenv: o.Getenv, readFile: o.ReadFile,
		now: o.Now, redactor: redactor, seals: map[string]string{}, values: map[string]secretValue{},
	}
	key := make([]byte, sha256.Size)
	rand.Read(key) // it does not fail
	for name, secret := range v.grants {
		if len(secret.Hosts) > 0 {
			patterns, err := parsePatterns(secret.Hosts)
			if err != nil {
				return nil, err
			}
			v.hosts[name] = patterns
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(name))
		v.seals[sealPrefix+hex.EncodeToString(mac.Sum(nil)[:16])] = name
	}
	return v, nil
}

// forHost returns a secret for a request to t.
func (v *vault) forHost(name, use string, t target) (string, error) {
	if err := v.allow(name, use); err != nil {
		return "", err
	}
	if patterns, bound := v.hosts[name]; bound && !matchAny(patterns, t) {
		return "", fault(sdk.CodeDenied, "the secret %q is not granted for %q: add %q to plugins.%s.allow.secrets.%s.hosts",
			name, t.hostport(), t.grant(), v.plugin, name)
	}
	return v.value(name)
}

// allow says whether the user granted the secret for the use.
func (v *vault) allow(name, use string) error {
	secret, ok := v.grants[name]
	if !ok {
		return fault(sdk.CodeDenied, "the secret %q is not granted to plugin %q: add it as plugins.%s.allow.secrets.%s, with use = %q",
			cut(name, 80), v.plugin, v.plugin, cut(name, 80), use)
	}
	if secret.Use != use {
		return fault(sdk.CodeDenied, "the secret %q is granted to plugin %q for the use %q, not %q", name, v.plugin, secret.Use, use)
	}
	return nil
}

// value reads a secret. Whoever calls it has asked [vault.allow].
func (v *vault) value(name string) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	source := v.grants[name].SecretSource
	if kept, ok := v.values[name]; ok && (source.File == "" || v.now().Sub(kept.read) < fileKept) {
		return kept.text, nil
	}
	text, err := v.read(source)
	if err != nil {
		return "", fault(sdk.CodeUnavailable, "read secret %q of plugin %q: %v", name, v.plugin, err)
	}
	v.redactor.Add(text)
	v.values[name] = secretValue{text, v.now()}
	return text, nil
}

// read takes a secret from its source. A line break at the end is not part of it: files mostly have one.
func (v *vault) read(source SecretSource) (string, error) {
	text, from := v.getenv(source.Env), "the environment variable "+source.Env
	if source.File != "" {
		from = fmt.Sprintf("the file %q", source.File)
		b, err := v.readFile(source.File)
		if err != nil {
			return "", err
		}
		text = string(b)
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case text == "" && source.File == "":
		return "", fmt.Errorf("%s is not set", from)
	case text == "":
		return "", fmt.Errorf("%s is empty", from)
	case len(text) > maxSecret:
		return "", fmt.Errorf("%s has %d bytes, and a secret may have %d", from, len(text), maxSecret)
	}
	return text, nil
}

// seal returns what stands for a secret in an answer to the plugin. It means something only in a request to a host that
// the secret is granted for, and only while this vault lives.
func (v *vault) seal(name string) string {
	for seal, of := range v.seals {
		if of == name {
			return seal
		}
	}
	return mask
}

// unseal puts the secrets in the place of their seals.
func (v *vault) unseal(text string, t target, encode func(string) string) (string, error) {
	if !strings.Contains(text, sealPrefix) {
		return text, nil
	}
	for _, seal := range slices.Sorted(maps.Keys(v.seals)) {
		if !strings.Contains(text, seal) {
			continue
		}
		value, err := v.forHost(v.seals[seal], UseAWS4, t)
		if err != nil {
			return "", err
		}
		text = strings.ReplaceAll(text, seal, encode(value))
	}
	return text, nil
}

// readSecretFile reads a small regular file. It does not wait for a FIFO.
func readSecretFile(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", name)
	}
	return io.ReadAll(io.LimitReader(f, maxSecret+3))
}
