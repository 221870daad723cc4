package artifact

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/host/plugin/store"
	"github.com/trowel-build/trowel/sdk"
)

// Options say where plugins are, and how to get there.
type Options struct {
	// Registries, Proxy, Credentials and UserAgent are for talking to registries.
	Registries  map[string]registry.Settings
	Proxy       registry.Proxy
	Credentials []sdk.CredentialProvider
	UserAgent   string
	// Store keeps what was pulled. Without one nothing can be installed.
	Store *store.Store
	// Builtin returns the program of a built-in plugin; nil means that there is none.
	Builtin func(name string) ([]byte, error)
	// Policy says whose signatures are wanted.
	Policy Policy
	// Logger is told of retries and of mirrors passed over; nil discards.
	Logger *slog.Logger

	retry registry.Retry
}

// Client gets plugins. Its methods may be called from several goroutines at once.
type Client struct {
	options  Options
	registry *registry.Client
	keys     []Key // of the policy
}

// New returns a client. It reads the keys of the policy and connects to nothing.
func New(options Options) (*Client, error) {
	keys, err := options.Policy.load()
	if err != nil {
		return nil, err
	}
	client, err := registry.New(registry.Options{
		Registries: options.Registries, Credentials: options.Credentials, UserAgent: options.UserAgent,
		Proxy: options.Proxy.Func(), Logger: options.Logger, Retry: options.retry,
	})
	if err != nil {
		return nil, err
	}
	return &Client{options: options, registry: client, keys: keys}, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.registry.Close() }

// Error is an error with what the user can do about it.
type Error struct {
	Err  error
	Cure string
}

// Error is the text of the cause.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint is what the user can do about it.
func (e *Error) Hint() string { return e.Cure }

// scheme begins the sources that are in a registry.
const scheme = "oci://"

// parseReference reads "oci://HOST/REPOSITORY[:TAG][@DIGEST]"; the scheme may be missing where nothing else is possible.
func parseReference(source string) (registry.Reference, error) {
	ref, err := registry.ParseReference(strings.TrimPrefix(source, scheme))
	if err != nil {
		return registry.Reference{}, &Error{Err: fmt.Errorf("plugin %q: %w", source, err), Cure: "write it as oci://registry.example.com/plugins/name:1.0"}
	}
	return ref, nil
}
