package dockerconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/sdk"
)

// maxFile caps a configuration file.
const maxFile = 4 << 20

// file is a configuration file as far as it matters here, with its keys in one form.
type file struct {
	name    string // for errors
	auths   map[string]entry[auth]
	helpers map[string]entry[string]
	store   string // the helper for everything
}

// entry is a value with its key as the file has it.
type entry[T any] struct {
	written string
	value   T
}

// load reads what there is, the file that counts most first.
func (p *Provider) load() ([]file, error) {
	var files []file
	if text := p.variables["DOCKER_AUTH_CONFIG"]; strings.TrimSpace(text) != "" {
		parsed, err := parse("DOCKER_AUTH_CONFIG", []byte(text))
		if err != nil {
			return nil, err
		}
		files = append(files, parsed)
	}
	for _, place := range p.places() {
		parsed, err := read(place)
		if err != nil {
			return nil, err
		}
		if parsed != nil {
			files = append(files, *parsed)
		}
	}
	return files, nil
}

// place is where a file may be.
type place struct {
	path string
	need need
}

// need says what a missing file means.
type need int

const (
	wanted   need = iota // a variable names its directory: it may be missing, and must be readable
	required             // a variable names it: it must be there
	usual                // nobody asked for it: it counts if it can be read
)

func (p *Provider) places() []place {
	var all []place
	if path := p.variables["REGISTRY_AUTH_FILE"]; path != "" {
		all = append(all, place{path, required})
	}
	if dir := p.variables["DOCKER_CONFIG"]; dir != "" {
		all = append(all, place{filepath.Join(dir, "config.json"), wanted})
	}
	if p.config.Home != "" {
		all = append(all, place{filepath.Join(p.config.Home, ".docker", "config.json"), usual})
	}
	if dir := p.variables["XDG_RUNTIME_DIR"]; dir != "" {
		all = append(all, place{filepath.Join(dir, "containers", "auth.json"), usual})
	} else if p.config.Podman != "" {
		all = append(all, place{p.config.Podman, usual})
	}
	dir := p.variables["XDG_CONFIG_HOME"]
	if dir == "" && p.config.Home != "" {
		dir = filepath.Join(p.config.Home, ".config")
	}
	if dir != "" {
		all = append(all, place{filepath.Join(dir, "containers", "auth.json"), usual})
	}
	return slices.CompactFunc(all, func(a, b place) bool { return filepath.Clean(a.path) == filepath.Clean(b.path) })
}

func read(at place) (*file, error) {
	f, err := os.Open(at.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && at.need != required:
		return nil, nil
	case errors.Is(err, fs.ErrPermission) && at.need == usual:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read registry credentials: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read registry credentials: %w", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("read registry credentials: %q is larger than %d MiB", at.path, maxFile>>20)
	}
	if strings.TrimSpace(string(text)) == "" {
		return nil, nil
	}
	parsed, err := parse(fmt.Sprintf("%q", at.path), text)
	return &parsed, err
}

// parse reads a configuration file. Its errors say where the text is wrong, and never what it says.
func parse(name string, text []byte) (file, error) {
	var doc struct {
		Auths       map[string]auth   `json:"auths"`
		CredHelpers map[string]string `json:"credHelpers"`
		CredsStore  string            `json:"credsStore"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return file{}, fmt.Errorf("read registry credentials: %s %s", name, position(err, len(text)))
	}
	return file{name: name, auths: normalise(doc.Auths), helpers: normalise(doc.CredHelpers), store: doc.CredsStore}, nil
}

func position(err error, size int) string {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Sprintf("is not valid JSON at byte %d of %d", syntax.Offset, size)
	}
	var mistyped *json.UnmarshalTypeError
	if errors.As(err, &mistyped) {
		return fmt.Sprintf("has a value of the wrong type at byte %d of %d", mistyped.Offset, size)
	}
	return "is not valid JSON"
}

// normalise brings keys into the form "host[:port][/path]". Of two keys that mean the same, the one that is written in
// this form counts, or else the first in order.
func normalise[T any](written map[string]T) map[string]entry[T] {
	all := make(map[string]entry[T], len(written))
	for _, key := range slices.Sorted(maps.Keys(written)) {
		normal := normaliseKey(key)
		if _, taken := all[normal]; !taken || key == normal {
			all[normal] = entry[T]{written: key, value: written[key]}
		}
	}
	return all
}

// normaliseKey reads keys as Docker has written them over the years: "https://index.docker.io/v1/", "https://host",
// "host/v2/".
func normaliseKey(key string) string {
	for _, scheme := range []string{"https://", "http://"} {
		key = strings.TrimPrefix(key, scheme)
	}
	key = strings.TrimRight(key, "/")
	host, path, _ := strings.Cut(key, "/")
	switch host = strings.ToLower(host); host {
	case "index.docker.io", "registry-1.docker.io":
		host = "docker.io"
	}
	if path == "v1" || path == "v2" {
		path = ""
	}
	if path == "" {
		return host
	}
	return host + "/" + path
}

// keysFor returns the keys that fit a request, the longest first.
func keysFor(request sdk.CredentialRequest) []string {
	host := normaliseKey(request.Registry)
	var keys []string
	for path := request.Repository; path != ""; {
		keys = append(keys, host+"/"+path)
		cut := strings.LastIndexByte(path, '/')
		path = path[:max(cut, 0)]
	}
	return append(keys, host)
}

// serverName is how credential stores know a registry.
func serverName(registry string) string {
	if normaliseKey(registry) == "docker.io" {
		return "https://index.docker.io/v1/"
	}
	return registry
}

// hasPathsOf says whether the file tells repositories of a registry apart.
func (f file) hasPathsOf(registry string) bool {
	prefix := normaliseKey(registry) + "/"
	return anyWithPrefix(f.auths, prefix) || anyWithPrefix(f.helpers, prefix)
}

func anyWithPrefix[T any](entries map[string]entry[T], prefix string) bool {
	for key := range entries {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}
