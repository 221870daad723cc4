package host

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

type countedCredentials struct{ asked atomic.Int32 }

func (c *countedCredentials) Credential(context.Context, sdk.CredentialRequest) (sdk.Credential, error) {
	c.asked.Add(1)
	return sdk.Credential{}, sdk.ErrNotMine
}

// While a process runs in place nobody is asked for a credential, and plugins are paused.
func TestGate(t *testing.T) {
	t.Parallel()
	paused := 0
	g := gate{pause: func(context.Context) (func(), error) {
		paused++
		return func() { paused-- }, nil
	}}
	provider := &countedCredentials{}
	leave, err := g.enter(t.Context())
	if err != nil || paused != 1 {
		t.Fatalf("enter: %v, paused %d", err, paused)
	}
	done := make(chan error)
	go func() {
		_, err := g.gated([]sdk.CredentialProvider{provider})[0].Credential(t.Context(), sdk.CredentialRequest{})
		done <- err
	}()
	time.Sleep(50 * time.Millisecond)
	if n := provider.asked.Load(); n != 0 {
		t.Error("asked while a process runs in place")
	}
	leave()
	if err := <-done; !errors.Is(err, sdk.ErrNotMine) || provider.asked.Load() != 1 || paused != 0 {
		t.Errorf("afterwards: %v, asked %d, paused %d", err, provider.asked.Load(), paused)
	}
}

// A plugin that cannot be paused is told of, once.
func TestGateNotPaused(t *testing.T) {
	t.Parallel()
	var told []string
	g := gate{
		pause: func(context.Context) (func(), error) { return nil, errors.New("it is busy") },
		warn:  func(text string) { told = append(told, text) },
	}
	for range 2 {
		leave, err := g.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		leave()
	}
	if len(told) != 1 || !strings.Contains(told[0], "it is busy") {
		t.Errorf("told %q", told)
	}
}
