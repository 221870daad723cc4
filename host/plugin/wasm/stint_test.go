package wasm

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trowel-build/trowel/sdk/abi"
)

// TestStint: what the host does for a plugin does not count as the interpreter's work, and what the interpreter does counts once.
func TestStint(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var fired atomic.Int32
		due := func() { fired.Add(1) }
		s := newStint(10*time.Second, due)
		is := func(want int32) {
			t.Helper()
			if synctest.Wait(); fired.Load() != want {
				t.Fatalf("it was enough %d times, not %d", fired.Load(), want)
			}
		}
		time.Sleep(4 * time.Second)
		s.pause()
		time.Sleep(time.Hour)
		is(0)
		s.resume()
		time.Sleep(5 * time.Second)
		is(0)
		time.Sleep(2 * time.Second)
		is(1)
		s.pause()
		s.resume()
		time.Sleep(time.Hour)
		is(1)
		s.pause()
		if worked := s.end(); worked != 11*time.Second+time.Hour {
			t.Errorf("it worked for %v", worked)
		}
		never := newStint(0, due)
		never.pause() // before the timer came to it
		is(2)
	})
}

// TestWaitingIsNoWork looks at the interpreter's clock while the host does something for a module: it stands still.
func TestWaitingIsNoWork(t *testing.T) {
	t.Parallel()
	asked, runs := false, false
	s := &services{do: func(ctx context.Context, _ abi.HostOp, _ []byte) []byte {
		asked = true
		runs = ctx.Value(sessionKey{}).(*session).stint.enough.Stop()
		return abi.OK([]byte("1"))
	}}
	p := open(t, Options{Services: s, CompileAfter: time.Hour, CacheDir: filepath.Join(t.TempDir(), "compiled")})
	if got := call(t, p, opHost, ""); got != `{"ok":1}` || !asked {
		t.Fatalf("answer %s", got)
	}
	if runs {
		t.Error("the clock of the interpreter runs while the host is at work")
	}
	if p.interpreted.Load() == 0 {
		t.Error("the interpreter did nothing")
	}
}
