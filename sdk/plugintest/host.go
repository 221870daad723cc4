package plugintest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// Host stands in for Trowel in a plugin's own tests: it makes the HTTP requests that the plugin asks for, to servers of
// [net/http/httptest], say, signs with the secrets it was given and reads files of directories. Its zero value grants
// nothing but HTTP.
//
//	host := &plugintest.Host{Env: map[string]string{"AWS_REGION": "eu-central-1"}}
//	plan, err := handler.Plan(host.Context(t.Context()), call)
//
// It keeps what it can of the real host's rules, but not those about hosts: it asks whatever a plugin wants asked.
type Host struct {
	// Client makes the requests; nil means [http.DefaultClient]. Redirects are followed as the request says.
	Client *http.Client
	// Env are the environment variables that are granted.
	Env map[string]string
	// Secrets are the secrets that are granted, by name.
	Secrets map[string]Secret
	// Files are the directories that are the trees of files. A root that is not there is not granted.
	Files map[sdk.Root]string
	// Now is the clock that requests are signed by; nil means [time.Now].
	Now func() time.Time

	mu sync.Mutex

	messages []string
}

// Secret is a secret and what it may be used for.
type Secret struct {
	Value string
	Use   string // "header", "sign-aws4", "hmac-sha256" or "reply"
}

// Services are the services of h.
func (h *Host) Services() sdk.Services {
	return sdk.Services{HTTP: h, Sign: h, Env: environment{h}, Files: h, Log: h}
}

// Context returns a context in which a plugin's calls of package sdk go to h.
func (h *Host) Context(ctx context.Context) context.Context {
	return sdk.WithServices(ctx, h.Services())
}

// Messages are what was logged so far, as "level: text".
func (h *Host) Messages() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.messages...)
}

// Log implements [sdk.Logger].
func (h *Host) Log(_ context.Context, level sdk.Level, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages = append(h.messages, string(level)+": "+text)
}

func denied(format string, args ...any) error {
	return &sdk.Error{Code: sdk.CodeDenied, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error {
	return &sdk.Error{Code: sdk.CodeInvalid, Message: fmt.Sprintf(format, args...)}
}

// secret returns a secret that was granted for a use.
func (h *Host) secret(name, use string) (string, error) {
	s, ok := h.Secrets[name]
	if !ok || s.Use != use {
		return "", denied("secret %q is not granted for the use %q", name, use)
	}
	return s.Value, nil
}

// fillIn replaces each {{secret:NAME}} by the secret, if it was granted for the use.
func (h *Host) fillIn(text, use string) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{{secret:")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return "", invalid("a {{secret: without its }}")
		}
		value, err := h.secret(name, use)
		if err != nil {
			return "", err
		}
		out.WriteString(value)
		text = after
	}
}

// environment implements [sdk.Environment], whose method is called like the field of Host.
type environment struct{ h *Host }

func (e environment) Env(_ context.Context, names []string) ([]sdk.Variable, error) {
	var out []sdk.Variable
	for _, name := range names {
		value, ok := e.h.Env[name]
		if !ok {
			return nil, denied("environment variable %q is not granted", name)
		}
		out = append(out, sdk.Variable{Name: name, Value: value})
	}
	return out, nil
}

const maxReadFile = 16 << 20

// ReadFile implements [sdk.FileSystem].
func (h *Host) ReadFile(_ context.Context, root sdk.Root, name string) ([]byte, error) {
	return inRoot(h, root, name, func(dir *os.Root, name string) ([]byte, error) {
		info, err := dir.Stat(name)
		switch {
		case err != nil:
			return nil, err
		case !info.Mode().IsRegular():
			return nil, invalid("read %q: it is no regular file", name)
		case info.Size() > maxReadFile:
			return nil, &sdk.Error{Code: sdk.CodeLimit, Message: fmt.Sprintf("read %q: it is larger than 16 MiB", name)}
		}
		return dir.ReadFile(name)
	})
}

// Stat implements [sdk.FileSystem].
func (h *Host) Stat(_ context.Context, root sdk.Root, name string) (sdk.FileInfo, error) {
	return inRoot(h, root, name, func(dir *os.Root, name string) (sdk.FileInfo, error) {
		info, err := dir.Stat(name)
		if err != nil {
			return sdk.FileInfo{}, err
		}
		return describe(path.Base(name), info), nil
	})
}

// ReadDir implements [sdk.FileSystem].
func (h *Host) ReadDir(_ context.Context, root sdk.Root, name string) ([]sdk.FileInfo, error) {
	return inRoot(h, root, name, func(dir *os.Root, name string) ([]sdk.FileInfo, error) {
		entries, err := fs.ReadDir(dir.FS(), name)
		if err != nil {
			return nil, err
		}
		var out []sdk.FileInfo
		for _, entry := range entries {
			info, err := entry.Info()
			if err != nil {
				return nil, err
			}
			out = append(out, describe(entry.Name(), info))
		}
		return out, nil
	})
}

func describe(name string, info fs.FileInfo) sdk.FileInfo {
	d := sdk.FileInfo{Name: name, Mode: info.Mode()}
	if info.Mode().IsRegular() {
		d.Size = info.Size()
	}
	return d
}

// inRoot does something in a tree of files, and turns what is missing into [sdk.ErrNotFound].
func inRoot[T any](h *Host, root sdk.Root, name string, do func(*os.Root, string) (T, error)) (_ T, err error) {
	var none T
	dir, ok := h.Files[root]
	if !ok {
		return none, denied("the files of the root %q are not granted", root)
	}
	opened, err := os.OpenRoot(dir)
	if err != nil {
		return none, err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	if name = strings.TrimPrefix(path.Clean("/"+name), "/"); name == "" {
		name = "."
	}
	got, err := do(opened, name)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", sdk.ErrNotFound, err)
	}
	return got, err
}

var (
	_ sdk.HTTPClient = (*Host)(nil)
	_ sdk.Signer     = (*Host)(nil)
	_ sdk.FileSystem = (*Host)(nil)
	_ sdk.Logger     = (*Host)(nil)
)
