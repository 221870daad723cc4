package plugin

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/trowel-build/trowel/host/plugin/manifest"
	"github.com/trowel-build/trowel/host/plugin/process"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/host/plugin/wasm"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// Options are what plugins are loaded with.
type Options struct {
	// Program finds the bytes of a plugin that may run: verified against the lock.
	Program func(ctx context.Context, name string, spec Spec) ([]byte, error)
	// Native makes the plugins that are compiled into this program, and says which those are; nil: none are.
	Native func(ctx context.Context, name string, spec Spec) (_ Cache, mine bool, err error)
	// Host names this program to plugins, such as "trowel 1.0.0".
	Host   string
	Getenv func(string) string
	// CompileDir keeps compiled modules, and SocketDir the sockets of processes. RUN must reach neither.
	CompileDir string
	SocketDir  string
	// Ahead opens the code of modules that was compiled ahead; nil: there is none. See [wasm.Engine].
	Ahead func(module, target string) func() (io.ReadCloser, error)
	// Prefetch gives the SHA-256, in hexadecimal, of the module of a plugin that is certain to be asked, so that code which was compiled
	// ahead is loaded while the module is looked for; "" for none. nil: there is none.
	Prefetch func(Spec) string
	// Proxy is that of plugins' requests; nil means none.
	Proxy func(*url.URL) (*url.URL, error)
	// TLS has settings for single hosts, by "host" or "host:port".
	TLS map[string]*tls.Config
	// Report takes what plugins and their loading have to say.
	Report func(level sdk.Level, text string)
}

// Load makes the plugins of a configuration ready, in the order of names. None is started; what is wrong with a program, its
// grants or its configuration is found now.
func Load(ctx context.Context, specs map[string]Spec, names []string, o Options) (_ *Set, err error) {
	set := &Set{}
	defer func() {
		if err != nil {
			err = errors.Join(err, set.Close(ctx))
		}
	}()
	engine, err := wasm.NewEngine(o.CompileDir)
	if err != nil {
		return set, err
	}
	engine.Ahead, engine.Scratch = o.Ahead, o.SocketDir
	set.engine = engine
	for _, name := range names {
		if o.Prefetch != nil {
			if module := o.Prefetch(specs[name]); module != "" {
				engine.Prefetch(ctx, module)
			}
		}
	}
	l := &loader{Options: o, engine: engine}
	for _, name := range names {
		spec := specs[name]
		if mine, err := set.addNative(ctx, name, spec, o); mine || err != nil {
			if err != nil {
				return set, fmt.Errorf("plugin %q: %w", name, err)
			}
			continue
		}
		r, err := l.load(ctx, name, spec)
		if err != nil {
			return set, fmt.Errorf("plugin %q: %w", name, err)
		}
		set.running = append(set.running, r)
		if err := set.add(r, o.Getenv); err != nil {
			return set, fmt.Errorf("plugin %q: %w", name, err)
		}
	}
	return set, nil
}

// addNative adds a plugin that is compiled into this program, if it is one.
func (s *Set) addNative(ctx context.Context, name string, spec Spec, o Options) (mine bool, err error) {
	if o.Native == nil {
		return false, nil
	}
	c, mine, err := o.Native(ctx, name, spec)
	if err != nil || !mine {
		return mine, err
	}
	c.Name, c.Roles = name, spec.Roles
	if c.Backend, err = withRecordKey(c.Backend, spec, o.Getenv); err != nil {
		return true, err
	}
	s.Caches = append(s.Caches, c)
	return true, nil
}

// withRecordKey is a cache whose records are authenticated, if the user wants that.
func withRecordKey(backend sdk.Cache, spec Spec, getenv func(string) string) (sdk.Cache, error) {
	if spec.RecordKey == nil {
		return backend, nil
	}
	secret, err := readKey(*spec.RecordKey, getenv)
	if err != nil {
		return nil, fmt.Errorf("record-key: %w", err)
	}
	return authenticated{backend, secret}, nil
}

// add gives a plugin its place.
func (s *Set) add(r *running, getenv func(string) string) error {
	switch r.spec.Kind {
	case sdk.KindCache:
		c := &cacheBackend{running: r, turn: make(chan struct{}, 1)}
		backend, err := withRecordKey(c, r.spec, getenv)
		if err != nil {
			return err
		}
		s.Caches = append(s.Caches, Cache{Name: r.name, Backend: backend, Roles: r.spec.Roles, Start: c.start})
	case sdk.KindCredential:
		p, err := newCredentials(r)
		if err != nil {
			return err
		}
		s.Credentials = append(s.Credentials, p)
	case sdk.KindInstruction:
		s.Instructions = append(s.Instructions, Instructions{Name: r.name, Handler: &instructions{running: r}, Identity: r.identity()})
	}
	return nil
}

// running is a plugin that is started when it is first asked something.
type running struct {
	name     string
	spec     Spec
	digest   string // of the program
	manifest manifest.Manifest
	native   bool
	attach   string // the socket of a process that somebody started
	services *service.Services
	conn     transport.Transport
	client   *abi.Client
}

// hello starts the plugin if need be, and returns what it says of itself.
func (r *running) hello(ctx context.Context) (abi.HelloResponse, error) {
	envelope, err := r.conn.Hello(ctx)
	if err != nil {
		return abi.HelloResponse{}, r.failed(err)
	}
	answer, err := abi.ReadHello(envelope, r.spec.Kind)
	return answer, r.failed(err)
}

// failed is an error of the plugin as the user may see it: on one line, without secrets or the plugin's name, which whoever
// shows it puts before it, and with the last words of a plugin that crashed.
func (r *running) failed(err error) error {
	if err == nil {
		return nil
	}
	safe := r.services.Safe(err)
	message := safe.Error()
	for _, name := range []string{fmt.Sprintf("plugin %q: ", r.name), fmt.Sprintf("plugin %q ", r.name)} {
		message = strings.TrimPrefix(message, name)
	}
	if coded, ok := errors.AsType[*sdk.Error](safe); ok && coded.Code == sdk.CodeCrashed {
		if first, _, _ := strings.Cut(coded.Detail, "\n"); first != "" {
			message += ": " + first
		}
	}
	return &shown{message, safe}
}

// shown is an error with another text.
type shown struct {
	text string
	err  error
}

// Error is the text.
func (s *shown) Error() string { return s.text }

// Unwrap returns the error.
func (s *shown) Unwrap() error { return s.err }

func (r *running) close(ctx context.Context) error {
	err := r.conn.Close(ctx)
	r.services.Close()
	return err
}

// purity is whether the plugin's answers depend on nothing but the call and what it reads.
func (r *running) purity() transport.Purity {
	if r.spec.Kind == sdk.KindInstruction && r.identity() != "" {
		return transport.Deterministic
	}
	return transport.Ordinary
}

// identity is a digest of the program, its configuration and its grants, or empty for a plugin whose answers depend on more.
func (r *running) identity() string {
	pure := !r.native
	if r.spec.Pure != nil {
		pure = *r.spec.Pure && !r.native
	}
	if !pure || len(r.spec.Allow.Hosts)+len(r.spec.Allow.Env)+len(r.spec.Allow.Secrets) > 0 {
		return "" // a process has a clock, and hosts, variables and secrets change
	}
	text, err := json.Marshal([]any{r.digest, r.spec.Config, r.spec.Allow.Digest(), abi.Version})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// loader loads plugins.
type loader struct {
	Options
	engine *wasm.Engine
}

func (l *loader) load(ctx context.Context, name string, spec Spec) (*running, error) {
	r := &running{name: name, spec: spec}
	var program []byte
	var err error
	if socket, ok := strings.CutPrefix(spec.Source, "attach:"); ok {
		r.native, r.attach = true, socket
		l.tell(sdk.LevelWarning, fmt.Sprintf("plugin %q is a process that somebody started by hand: nothing of it is verified", name))
	} else if program, err = l.read(ctx, r); err != nil {
		return nil, err
	}
	if err := checkConfig(r.manifest.ConfigSchema, spec.Config); err != nil {
		return nil, err
	}
	l.tellMissing(r)
	if r.services, err = service.New(service.Options{
		Plugin: name, Kind: spec.Kind, Purity: r.purity(), Grants: spec.Allow, Getenv: l.Getenv, Proxy: l.Proxy, TLS: l.TLS,
		Report: func(level sdk.Level, text string) { l.tell(level, "plugin "+name+": "+text) }, UserAgent: strings.ReplaceAll(l.Host, " ", "/"),
	}); err != nil {
		return nil, err
	}
	if err := l.open(r, program); err != nil {
		r.services.Close()
		return nil, err
	}
	r.client = abi.NewClient(r.conn)
	return r, nil
}

// read finds a plugin's program and what it says of itself.
func (l *loader) read(ctx context.Context, r *running) ([]byte, error) {
	program, err := l.Program(ctx, r.name, r.spec)
	if err != nil {
		return nil, err
	}
	platform, err := manifest.Identify(program)
	if err != nil {
		return nil, err
	}
	if r.native = platform.Native(); r.native && r.spec.Trust != trustNative {
		return nil, &hintedError{
			errors.New("it is a native program: as a process it can do all that you can"),
			`if you trust it that far, set trust = "native"; a WebAssembly module needs no trust`,
		}
	}
	sum := sha256.Sum256(program)
	r.digest = "sha256:" + hex.EncodeToString(sum[:])
	if r.manifest, err = manifest.Read(program); err != nil && !errors.Is(err, manifest.ErrNone) {
		return nil, err
	}
	return program, nil
}

func (l *loader) tell(level sdk.Level, text string) {
	if l.Report != nil {
		l.Report(level, text)
	}
}

// tellMissing warns of what a plugin would like to have and was not granted.
func (l *loader) tellMissing(r *running) {
	missing := r.manifest.Wants.Missing(r.spec.Allow)
	if missing.Empty() {
		return
	}
	lines := strings.Join(missing.TOML(r.name, r.spec.Allow), "\n")
	l.tell(sdk.LevelWarning, fmt.Sprintf("plugin %q asks for more than it was granted; to grant it, write:\n%s", r.name, lines))
}

// open makes the transport.
func (l *loader) open(r *running, program []byte) error {
	if err := abi.CheckConfig(r.spec.Config); err != nil {
		return err
	}
	request := abi.HelloRequest{
		ABI: abi.Version, Host: l.Host, Name: r.name, Kind: r.spec.Kind, Config: r.spec.Config,
	}
	hello := abi.AppendHelloRequest(nil, &request)
	limits := limitsOf(r.spec)
	var err error
	if r.native {
		r.conn, err = process.Open(process.Options{
			Name: r.name, Program: program, Digest: sdk.Digest(r.digest), Attach: r.attach, Hello: hello, Limits: limits,
			Services: r.services, Dir: l.SocketDir,
		})
		return err
	}
	r.conn, err = wasm.Open(wasm.Options{
		Name: r.name, Module: program, Hello: hello, Limits: limits, Purity: r.purity(), Services: r.services, Engine: l.engine,
		CompileAfter: compileAfter,
	})
	return err
}

// compileAfter is how long a plugin works in the interpreter before it is compiled, which takes more than a second of both
// processors of a small machine.
const compileAfter = 250 * time.Millisecond

// limitsOf are the limits of a plugin: the user's, or those of its kind.
func limitsOf(s Spec) transport.Limits {
	l := transport.Limits{Memory: int64(s.Limits.Memory), Timeout: s.Limits.Timeout, Start: s.Limits.Start, Instances: s.Limits.Instances}
	if l.Timeout > 0 {
		return l
	}
	switch s.Kind {
	case sdk.KindCache:
		l.Timeout = 10 * time.Second
	case sdk.KindCredential:
		l.Timeout = 60 * time.Second
	default:
		l.Timeout = 30 * time.Second
	}
	return l
}

// hintedError is an error with advice.
type hintedError struct {
	error
	hint string
}

// Hint is what the user can do.
func (e *hintedError) Hint() string { return e.hint }

// Unwrap returns the error itself.
func (e *hintedError) Unwrap() error { return e.error }
