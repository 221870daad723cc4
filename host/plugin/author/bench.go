package author

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/trowel-build/trowel/host/plugin/manifest"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk/abi"
)

// bench is a plugin that runs, with a server of its own to use and the host's true services.
type bench struct {
	run      *run
	server   *server
	services *service.Services
	asked    *asking
	dir      string
}

// setting says how a bench is set up.
type setting struct {
	purity  transport.Purity
	timeout time.Duration
	once    bool
}

// benches counts those that there were, so that each has a name of its own on a shared server.
type benches struct{ last atomic.Int64 }

// open sets a bench up. It is closed by [bench.close].
func (t *tester) open(ctx context.Context, s setting) (_ *bench, err error) {
	b := &bench{}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close(ctx))
		}
	}()
	if b.dir, err = os.MkdirTemp("", "trowel-plugin-test-"); err != nil {
		return nil, err
	}
	subject := t.harness.subject
	if b.server, err = serve(ctx, subject.Test, b.dir); err != nil {
		return nil, err
	}
	grants, getenv := testGrants(subject, b.server.address)
	if b.services, err = service.New(service.Options{
		Plugin: subject.Name, Kind: subject.Kind, Purity: s.purity, Grants: grants, Getenv: getenv, Report: t.log,
	}); err != nil {
		return nil, err
	}
	b.asked = &asking{Services: b.services}
	b.run, err = t.harness.start(ctx, conditions{
		config: testConfig(subject.Test.Config, b.server.address, t.benches.last.Add(1)), services: b.asked,
		purity: s.purity, timeout: s.timeout, once: s.once,
	})
	return b, err
}

func (b *bench) close(ctx context.Context) error {
	var errs []error
	if b.run != nil {
		errs = append(errs, b.run.close(ctx))
	}
	if b.services != nil {
		b.services.Close()
	}
	if b.server != nil {
		errs = append(errs, b.server.close())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// cache is the plugin as the core knows caches.
func (b *bench) cache() *transfer.Cache { return b.run.cache(b.services.Send) }

// testConfig fills the blanks of a configuration: {{server}} and {{run}}, a word that no other run has.
func testConfig(config map[string]any, address string, number int64) map[string]any {
	run := strconv.FormatInt(time.Now().UnixNano(), 36) + "-" + strconv.FormatInt(number, 36)
	values := strings.NewReplacer("{{server}}", "http://"+address, "{{server-host}}", address, "{{run}}", run)
	filled, _ := fill(config, values).(map[string]any)
	return filled
}

// testGrants are what the plugin asks for, except that of all hosts there is the tests' server: a test reaches no other.
func testGrants(s *Subject, address string) (service.Grants, func(string) string) {
	const secretVariable = "TROWEL_TEST_SECRET_"
	wants := s.Manifest.Wants
	variables := map[string]string{}
	for name, value := range s.Test.Env {
		variables[name] = value
	}
	g := service.Grants{Env: wants.Env, Secrets: map[string]service.Secret{}}
	if wants.Files != nil {
		g.Files = &wants.Files
	}
	if address != "" {
		g.Hosts = []string{"http://" + address}
	}
	for i, secret := range wants.Secrets {
		variable := secretVariable + strconv.Itoa(i)
		variables[variable] = secretValue(s, secret)
		g.Secrets[secret.Name] = service.Secret{SecretSource: service.SecretSource{Env: variable}, Use: secret.Use}
	}
	return g, func(name string) string { return variables[name] }
}

// secretValue is what the author said in test.secrets, or else something.
func secretValue(s *Subject, secret manifest.Secret) string {
	if value, ok := s.Test.Secrets[secret.Name]; ok {
		return value
	}
	return "a-secret-of-the-tests-" + secret.Name
}

// asking counts what a plugin asks of the host.
type asking struct {
	transport.Services
	http atomic.Int64
}

// Do counts, and asks.
func (a *asking) Do(ctx context.Context, op abi.HostOp, request []byte) []byte {
	if op == abi.HostHTTP {
		a.http.Add(1)
	}
	return a.Services.Do(ctx, op, request)
}

// within runs do, and says when it takes longer than it may.
func within(ctx context.Context, most time.Duration, do func(ctx context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	select {
	case err := <-done:
		return err
	case <-time.After(most):
		return fmt.Errorf("it did not end within %s", most)
	}
}
