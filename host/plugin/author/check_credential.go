package author

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// credentialChecks are those of credential providers beside the suite.
func credentialChecks() []check {
	known := func(name string, s setting, do func(ctx context.Context, b *bench, request sdk.CredentialRequest, f *findings) error) check {
		return check{name, func(ctx context.Context, t *tester, f *findings) error {
			registry := t.harness.subject.Test.Known
			if registry == "" {
				return errNothing // the suite says so
			}
			request := sdk.CredentialRequest{Registry: registry, Repository: "team/app", Actions: []string{"pull"}, Reason: sdk.ReasonInitial}
			return with(s, func(ctx context.Context, b *bench, f *findings) error { return do(ctx, b, request, f) })(ctx, t, f)
		}}
	}
	return []check{
		known("a refused credential is asked for anew", setting{once: true}, credentialRenewed),
		known("fault: HTTP 401 is an error and no answer", setting{}, credentialFault(refusing(http.StatusUnauthorized))),
		known("fault: HTTP 500 is an error and no answer", setting{}, credentialFault(refusing(http.StatusInternalServerError))),
		known("fault: a truncated answer is no credential", setting{}, credentialFault(truncating)),
		known("fault: a server that hangs ends with the deadline", setting{timeout: 2 * time.Second}, credentialFault(hanging)),
	}
}

// credentialRenewed: who got its answer from a service must ask the service again when the registry refused the answer. What
// was kept is what was refused.
func credentialRenewed(ctx context.Context, b *bench, request sdk.CredentialRequest, f *findings) error {
	provider := b.run.client.Credential()
	if _, err := provider.Credential(ctx, request); err != nil {
		return fmt.Errorf("the first credential: %w", err)
	}
	first := b.asked.http.Load()
	if first == 0 {
		return errNothing // it asks nobody
	}
	request.Reason = sdk.ReasonUnauthorized
	if _, err := provider.Credential(ctx, request); err != nil {
		return fmt.Errorf("after the registry refused the first credential: %w", err)
	}
	if b.asked.http.Load() == first {
		f.problem("after the registry refused its credential, it answered without asking the service again")
	}
	return nil
}

func credentialFault(bad fault) func(ctx context.Context, b *bench, request sdk.CredentialRequest, f *findings) error {
	return func(ctx context.Context, b *bench, request sdk.CredentialRequest, f *findings) error {
		b.server.fail(bad)
		var got sdk.Credential
		err := within(ctx, 10*time.Second, func(ctx context.Context) error {
			var err error
			got, err = b.run.client.Credential().Credential(ctx, request)
			return err
		})
		if b.server.count.Load() == 0 {
			return errNothing // it asks nobody
		}
		switch {
		case err == nil:
			f.problem("it answers with a %s, as if all were well", got)
		case errors.Is(err, sdk.ErrNotMine):
			f.problem("it answers that the registry is not its own, which sends the host to the next provider: %v", err)
		case codeOf(err) == sdk.CodeCrashed:
			f.problem("%v", err)
		}
		b.server.fail(nil)
		_, err = b.run.client.Credential().Credential(ctx, request)
		f.must("ask again when the server works", err)
		return nil
	}
}
