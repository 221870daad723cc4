// Package service is what plugins may ask of the host, and the grants that decide it: the one place where they are checked,
// for both transports, all versions of the ABI and the requests of transfers.
//
//	grants.go   what the user granted     wants.go    whether they allow what is wished    digest.go  names grants
//	target.go   where a URL goes          pattern.go  what a grant names                           address.go addresses
//	policy.go   decides by name and by dialled address                                             network.go connects
//	http.go     requests of plugins       send.go     one request with its redirects               request.go makes one
//	vault.go    secrets                   reference.go puts them into requests                     sign.go    signs, aws4.go
//	redact.go   takes them out again      clean.go    text for terminals                           log.go     what plugins say
//
// What a plugin asks for is written by a stranger.
package service

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// Options say for which plugin services are, and what they are made of.
type Options struct {
	Plugin string // its name in trowel.toml
	Kind   sdk.Kind
	Purity transport.Purity // a deterministic plugin has files and nothing else
	Grants Grants

	Getenv   func(string) string                // nil: os.Getenv
	ReadFile func(string) ([]byte, error)       // of secrets; nil: that of a small regular file
	Now      func() time.Time                   // nil: time.Now
	Report   func(level sdk.Level, text string) // takes what the plugin logs, cleaned, a line at a time; nil: nobody

	// Proxy says through what proxy a URL is reached; nil, and a nil answer, mean through none.
	Proxy func(*url.URL) (*url.URL, error)
	// RootCAs are the authorities that are trusted; nil means those of the system.
	RootCAs *x509.CertPool
	// TLS has settings for single hosts, by "host", "host:port" or "*.domain".
	TLS      map[string]*tls.Config
	Resolver *net.Resolver // nil: the system's
	Timeouts Timeouts
	// Requests is how many requests of the plugin run at once; 0 means 32.
	Requests  int
	UserAgent string // of requests that name none; empty means "trowel"
}

// Timeouts bound the steps of making a connection. What is zero is 10 seconds.
type Timeouts struct {
	Dial time.Duration
	TLS  time.Duration
}

const (
	defaultRequests = 32
	defaultTimeout  = 10 * time.Second
)

func (o Options) withDefaults() Options {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.ReadFile == nil {
		o.ReadFile = readSecretFile
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Report == nil {
		o.Report = func(sdk.Level, string) {}
	}
	if o.Proxy == nil {
		o.Proxy = func(*url.URL) (*url.URL, error) { return nil, nil }
	}
	if o.Requests <= 0 {
		o.Requests = defaultRequests
	}
	if o.UserAgent == "" {
		o.UserAgent = "trowel"
	}
	if o.Timeouts.Dial == 0 {
		o.Timeouts.Dial = defaultTimeout
	}
	if o.Timeouts.TLS == 0 {
		o.Timeouts.TLS = defaultTimeout
	}
	return o
}

// Services are the host's services for one plugin, all its instances together.
type Services struct {
	options  Options
	policy   *policy
	vault    *vault
	redactor *Redactor
	network  *network
	logger   *logger
	slots    chan struct{}
}

var _ transport.Services = (*Services)(nil)

// New makes the services of a plugin. Its error is that of the grants.
func New(o Options) (*Services, error) {
	if err := o.Grants.Validate(o.Kind); err != nil {
		return nil, fmt.Errorf("plugin %q: %w", o.Plugin, err)
	}
	o = o.withDefaults()
	policy, err := newPolicy(o.Plugin, o.Grants.Hosts)
	if err != nil {
		return nil, err
	}
	redactor := &Redactor{}
	vault, err := newVault(o, redactor)
	if err != nil {
		return nil, err
	}
	return &Services{
		options: o, policy: policy, vault: vault, redactor: redactor, network: newNetwork(o, policy),
		logger: &logger{report: o.Report, redactor: redactor, now: o.Now},
		slots:  make(chan struct{}, o.Requests),
	}, nil
}

// Do implements [transport.Services].
func (s *Services) Do(ctx context.Context, op abi.HostOp, request []byte) []byte {
	return abi.HandleHost(ctx, s.SDK(), op, request)
}

// Log implements [transport.Services].
func (s *Services) Log(level sdk.Level, text string) { s.logger.Log(level, text) }

// SDK returns the services as a plugin's code has them, for what is compiled in and for [sdk.WithServices].
func (s *Services) SDK() sdk.Services {
	services := sdk.Services{HTTP: httpService{s}, Sign: signService{s}, Env: envService{s}, Files: fileService{s}, Log: logService{s}}
	if s.options.Purity == transport.Deterministic {
		pure := impureService{plugin: s.options.Plugin}
		services.HTTP, services.Sign, services.Env = pure, pure, pure
	}
	return services
}

// Redactor has the secrets that the plugin has used so far.
func (s *Services) Redactor() *Redactor { return s.redactor }

// Close closes idle connections, and tells of messages that were dropped.
func (s *Services) Close() {
	s.network.close()
	s.logger.close()
}

type logService struct{ s *Services }

// Log implements [sdk.Logger].
func (l logService) Log(_ context.Context, level sdk.Level, text string) { l.s.Log(level, text) }

// envService gives granted environment variables.
type envService struct{ s *Services }

// Env implements [sdk.Environment].
func (e envService) Env(_ context.Context, names []string) ([]sdk.Variable, error) {
	vars, err := e.env(names)
	return vars, e.s.safe(err)
}

func (e envService) env(names []string) ([]sdk.Variable, error) {
	o := e.s.options
	granted := map[string]bool{}
	for _, name := range o.Grants.Env {
		granted[name] = true
	}
	var vars []sdk.Variable
	for _, name := range names {
		if !granted[name] {
			return nil, fault(sdk.CodeDenied, "the environment variable %q is not granted to plugin %q: add it to plugins.%s.allow.env",
				cut(name, 128), o.Plugin, o.Plugin)
		}
		if value := o.Getenv(name); value != "" {
			vars = append(vars, sdk.Variable{Name: name, Value: value})
		}
	}
	return vars, nil
}

// impureService refuses what would make equal calls have different plans.
type impureService struct{ plugin string }

func (i impureService) refuse(what string) error {
	return fault(sdk.CodeDenied, "plugin %q cannot use %s: its plans are kept, and must depend on its input alone; "+
		"set plugins.%s.pure = false if they may be made anew in each build", i.plugin, what, i.plugin)
}

// HTTP implements [sdk.HTTPClient].
func (i impureService) HTTP(context.Context, []sdk.HTTPRequest) ([]sdk.HTTPResponse, error) {
	return nil, i.refuse("the network")
}

// Sign implements [sdk.Signer].
func (i impureService) Sign(context.Context, sdk.SignRequest) (sdk.SignResponse, error) {
	return sdk.SignResponse{}, i.refuse("secrets")
}

// Env implements [sdk.Environment].
func (i impureService) Env(context.Context, []string) ([]sdk.Variable, error) {
	return nil, i.refuse("environment variables")
}

var errNoAnswer = errors.New("no answer in time")
