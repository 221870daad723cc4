package author

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// commonChecks are those of every kind. The first one says whether the plugin starts.
func commonChecks() []check {
	return []check{
		{"starts, and says of itself what its manifest says", checkHello},
		{"an unknown operation is unsupported", with(setting{}, checkUnknownOp)},
		{"a request that is no JSON is refused", with(setting{}, checkGarbage)},
		{"a configuration that is not its own is refused", checkWrongConfig},
		{"concurrent calls are answered", with(setting{}, checkConcurrent)},
		{"1,000 calls leave the memory flat", checkLeak},
	}
}

func checkHello(ctx context.Context, t *tester, f *findings) error {
	start := time.Now()
	return with(setting{}, func(_ context.Context, b *bench, f *findings) error {
		s := t.harness.subject
		f.note = fmt.Sprintf("start %.1f ms, %d KiB", float64(time.Since(start).Microseconds())/1000, len(s.Program)>>10)
		if b.run.hello.Name != s.Manifest.Name {
			f.problem("it calls itself %q, and plugin.toml %q", b.run.hello.Name, s.Manifest.Name)
		}
		if b.run.hello.Version != s.Manifest.Version {
			f.problem("it says that its version is %q, and plugin.toml %q", b.run.hello.Version, s.Manifest.Version)
		}
		return nil
	})(ctx, t, f)
}

func codeOf(err error) sdk.ErrorCode {
	if e, ok := errors.AsType[*sdk.Error](err); ok {
		return e.Code
	}
	return ""
}

func checkUnknownOp(ctx context.Context, b *bench, f *findings) error {
	envelope, err := b.run.conn.Call(ctx, 9999, []byte("{}"), nil)
	if err != nil {
		return err
	}
	if _, err := abi.Result(envelope); codeOf(err) != sdk.CodeUnsupported {
		f.problem("operation 9999 is answered with %s, and should be with an error of the code %q", show(envelope), sdk.CodeUnsupported)
	}
	return nil
}

// operations are those of a kind that a garbled request is sent to.
func operations(kind sdk.Kind) []abi.Op {
	switch kind {
	case sdk.KindCache:
		return []abi.Op{abi.OpGetRecords, abi.OpStatBlobs, abi.OpPutRecords}
	case sdk.KindCredential:
		return []abi.Op{abi.OpCredential}
	}
	return []abi.Op{abi.OpPlan}
}

func checkGarbage(ctx context.Context, b *bench, f *findings) error {
	deep := strings.Repeat("[", 100_000)
	for _, op := range operations(b.run.hello.Kinds[0]) {
		for _, request := range []string{"", "{", `{"keys":`, "\x00\xff", `"`, `{"a":"\u12"}`, deep, `{"keyword":` + deep} {
			envelope, err := b.run.conn.Call(ctx, op, []byte(request), nil)
			if err != nil {
				f.problem("operation %s with the request %s: %v", opName(op), show([]byte(request)), err)
				continue
			}
			if _, err := abi.Result(envelope); err == nil {
				f.problem("operation %s takes the request %s", opName(op), show([]byte(request)))
			}
		}
	}
	return nil
}

// checkWrongConfig: somebody who misspells a key has to be told.
func checkWrongConfig(ctx context.Context, t *tester, f *findings) error {
	s := t.harness.subject
	config := testConfig(s.Test.Config, "127.0.0.1:9", 0)
	if config == nil {
		config = map[string]any{}
	}
	config["a-key-that-is-not-there"] = true
	r, err := t.harness.start(ctx, conditions{config: config, services: silent{}})
	if err == nil {
		f.problem("a key that it does not know in its configuration is ignored")
		return r.close(ctx)
	}
	if codeOf(err) != sdk.CodeInvalid {
		f.problem("the error has the code %q, and should have %q: %v", codeOf(err), sdk.CodeInvalid, err)
	}
	return nil
}

func checkConcurrent(ctx context.Context, b *bench, f *findings) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if err := anyCall(ctx, b.run, 0); crashed(err) {
					mu.Lock()
					f.problem("%v", err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// crashed says whether an error is of a plugin that did not answer.
func crashed(err error) bool {
	return slices.Contains([]sdk.ErrorCode{sdk.CodeCrashed, sdk.CodeTimeout, sdk.CodeLimit}, codeOf(err))
}

// anyCall asks the plugin something that it has an answer or an error for. Ballast makes the request larger.
func anyCall(ctx context.Context, r *run, ballast int) error {
	filler := strings.Repeat("x", ballast)
	var err error
	switch r.hello.Kinds[0] {
	case sdk.KindCache:
		_, err = r.client.Cache().GetRecords(ctx, []sdk.Key{"leak/0"})
	case sdk.KindCredential:
		_, err = r.client.Credential().Credential(ctx, sdk.CredentialRequest{
			Registry: "leak.example.com", Repository: "team/" + filler, Actions: []string{"pull"}, Reason: sdk.ReasonInitial,
		})
	default:
		_, err = r.client.Instruction().Plan(ctx, sdk.Call{
			Keyword: "LEAK", Args: []string{"a", "b"}, Env: []string{"FILLER=" + filler}, Workdir: "/", Platform: "linux/amd64",
		})
	}
	return err
}

const (
	leakCalls   = 1000
	leakSettled = 400     // calls after which a language's heap has found its size
	leakAllowed = 3 << 20 // bytes that it may have grown by since
	leakBallast = 16 << 10
)

// checkLeak makes many calls of one instance. The requests are not small, so that a plugin which keeps them is found.
func checkLeak(ctx context.Context, t *tester, f *findings) error {
	if t.harness.subject.native() {
		return errNothing // the memory of a process is not bounded by Trowel
	}
	return with(setting{purity: transport.Ordinary, once: true}, func(ctx context.Context, b *bench, f *findings) error {
		if b.run.hello.Kinds[0] == sdk.KindCache {
			record := sdk.Record{Key: "leak/0", Value: make([]byte, leakBallast)}
			_ = b.run.client.Cache().PutRecords(ctx, []sdk.Record{record}) // a cache that takes none has none to leak
		}
		start := time.Now()
		var settled int64
		for i := range leakCalls - 2 { // with the record put above, one less than after which the host takes a new instance
			if err := anyCall(ctx, b.run, leakBallast); crashed(err) {
				return fmt.Errorf("call %d: %w", i+1, err)
			}
			if i == leakSettled {
				var err error
				if settled, err = guestMemory(); err != nil {
					return err
				}
			}
		}
		end, err := guestMemory()
		if err == nil && min(end, settled) == 0 {
			err = errors.New("its memory is not to be found in /proc/self/smaps")
		}
		if err != nil {
			return err
		}
		f.note = fmt.Sprintf("%.2f ms a call, %.1f MiB", float64(time.Since(start).Microseconds())/1000/leakCalls, float64(end)/(1<<20))
		if end-settled > leakAllowed {
			f.problem("after %d calls it had %.1f MiB, after %d calls %.1f MiB: it keeps something of each call",
				leakSettled, float64(settled)/(1<<20), leakCalls, float64(end)/(1<<20))
		}
		return nil
	})(ctx, t, f)
}

// show is bytes for a message: printable, and not many.
func show(b []byte) string {
	const most = 120
	if len(b) > most {
		return fmt.Sprintf("%q… (%d bytes)", b[:most], len(b))
	}
	return fmt.Sprintf("%q", b)
}
