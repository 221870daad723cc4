package hostile_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/plugin"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// trial is the test of a claim.
type trial struct {
	*testing.T
	happened []string
}

// happens notes for the table what a plugin came to.
func (t *trial) happens(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for _, v := range varying {
		text = v.pattern.ReplaceAllString(text, v.stands)
	}
	t.happened = append(t.happened, text)
}

// varying is what differs from run to run, and what stands for it in the table.
var varying = []struct {
	pattern *regexp.Regexp
	stands  string
}{
	{regexp.MustCompile(`(\d+\.\d+\.\d+\.\d+|example\.com):\d+`), "$1:PORT"},
	{regexp.MustCompile(`sha256:[0-9a-f]{64}`), "sha256:…"},
	{regexp.MustCompile(`/tmp/[^ "'` + "`" + `:]*`), "DIR"},
}

// refused makes sure that an error has a code, names the plugin, and says certain things.
func (t *trial) refused(err error, code sdk.ErrorCode, says ...string) *sdk.Error {
	t.Helper()
	e, ok := errors.AsType[*sdk.Error](err)
	if !ok || e.Code != code {
		t.Fatalf("error %v (%#v), want one of the code %s", err, e, code)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
	return e
}

// fails is refused for the one plugin that a trial is about, and puts the error into the table.
func (t *trial) fails(err error, code sdk.ErrorCode, says ...string) {
	t.Helper()
	e := t.refused(err, code, append(says, `plugin "hostile"`)...)
	t.happens("`%s`: %s", code, strings.TrimPrefix(e.Message, `plugin "hostile" `))
}

// spec is a table [plugins.hostile] for a module of testdata.
func spec(module string, kind sdk.Kind) plugin.Spec {
	s := plugin.Spec{Kind: kind, Source: "file:" + program(module, "wasm")}
	if !slices.Contains(sandboxed, module) {
		s = trusted(s, module)
	}
	if kind == sdk.KindCredential {
		s.Match = []string{"registry.example.com"}
	}
	return s
}

// trusted is a table for a module that is built as a process.
func trusted(s plugin.Spec, module string) plugin.Spec {
	s.Source, s.Trust = "file:"+program(module, ""), "native"
	return s
}

// site is a host with a hostile plugin and a good one.
type site struct {
	t       *trial
	set     *plugin.Set
	sockets string

	mu   sync.Mutex
	said []string // by plugins and about them
}

// options are what the site's plugins are loaded with.
func (s *site) options() plugin.Options {
	return plugin.Options{
		Program: func(_ context.Context, _ string, spec plugin.Spec) ([]byte, error) {
			return os.ReadFile(strings.TrimPrefix(spec.Source, "file:"))
		},
		Host: "trowel test", Getenv: os.Getenv, CompileDir: compileDir(), SocketDir: s.sockets,
		Report: func(level sdk.Level, text string) { s.hear(string(level) + " " + text) },
	}
}

func (s *site) hear(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, text)
}

// heard is all that was said.
func (s *site) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.said, "\n")
}

// newSite makes a host without plugins.
func newSite(t *trial) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "s") // a socket's path is short
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return &site{t: t, sockets: dir}
}

// load loads a hostile plugin, and a good one after it.
func load(t *trial, hostile plugin.Spec, change ...func(o *plugin.Options)) *site {
	t.Helper()
	s := newSite(t)
	must(t, s.load(hostile, change...))
	return s
}

func (s *site) load(hostile plugin.Spec, change ...func(o *plugin.Options)) error {
	o := s.options()
	for _, c := range change {
		c(&o)
	}
	specs := map[string]plugin.Spec{"hostile": hostile, "good": spec("good", sdk.KindCredential)}
	for name, sp := range specs {
		if err := sp.Validate(name); err != nil {
			return err
		}
	}
	set, err := plugin.Load(s.t.Context(), specs, []string{"hostile", "good"}, o)
	if err != nil {
		return err
	}
	s.set = set
	s.t.Cleanup(func() {
		ctx, cancel := background()
		defer cancel()
		if err := set.Close(ctx); err != nil {
			s.t.Errorf("close: %v", err)
		}
	})
	return nil
}

// ask asks the hostile plugin, a credential provider.
func (s *site) ask(question string) (string, error) {
	return askProvider(s.t.Context(), s.set.Credentials[0], question)
}

func askProvider(ctx context.Context, p sdk.CredentialProvider, question string) (string, error) {
	c, err := p.Credential(ctx, sdk.CredentialRequest{Registry: "registry.example.com", Repository: question, Reason: sdk.ReasonInitial})
	return c.Username, err
}

// answers asks the hostile plugin what it has to answer.
func (s *site) answers(question string) string {
	s.t.Helper()
	answer, err := s.ask(question)
	must(s.t, err)
	return answer
}

// works makes sure that the host works as before, by the good plugin.
func (s *site) works() {
	s.t.Helper()
	good := s.set.Credentials[len(s.set.Credentials)-1]
	if answer, err := askProvider(s.t.Context(), good, "plugin"); err != nil || answer != "good plugin" {
		s.t.Errorf("the good plugin answers %q, %v", answer, err)
	}
}

// within makes sure that do takes no longer than it may.
func (t *trial) within(most time.Duration, do func()) {
	t.Helper()
	begin := time.Now()
	do()
	if took := time.Since(begin); took > most {
		t.Errorf("it took %v, and may take %v", took, most)
	}
}

// background is a context for what must be done at the end of a test.
func background() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 20*time.Second)
}

// eventually waits for what happens a moment later.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Error(err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write makes a file below dir.
func write(t testing.TB, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, name)
	must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	must(t, os.WriteFile(file, []byte(text), 0o644))
	must(t, os.Chtimes(file, time.Time{}, time.Unix(1_600_000_000, 0))) // a layer has the time
}

// nobody is the services of a plugin that asks for none.
type nobody struct{}

// Do implements [transport.Services].
func (nobody) Do(context.Context, abi.HostOp, []byte) []byte {
	return abi.Fail(&sdk.Error{Code: sdk.CodeDenied, Message: "not granted"})
}

// Log implements [transport.Services].
func (nobody) Log(sdk.Level, string) {}

var _ transport.Services = nobody{}

// helloOf is the first request to a credential plugin.
func helloOf(name string) []byte {
	return abi.AppendHelloRequest(nil, &abi.HelloRequest{ABI: abi.Version, Host: "trowel test", Name: name, Kind: sdk.KindCredential})
}

// askConn asks a credential plugin by its transport.
func askConn(ctx context.Context, conn abi.Conn) (string, error) {
	return askProvider(ctx, abi.NewClient(conn).Credential(), "x")
}

// digestOf is the digest of a file.
func digestOf(t testing.TB, file string) sdk.Digest {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	return sdk.Digest(digest.FromBytes(text))
}
