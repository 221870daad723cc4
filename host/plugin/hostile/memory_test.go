package hostile_test

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
)

// peak makes sure that do takes no more memory of the process than so many MiB, and keeps little of it.
func (t *trial) peak(most int, do func()) {
	t.Helper()
	if instrumented {
		do() // its memory is not that of the program
		return
	}
	const kept = 48
	before := t.resident("VmRSS")
	must(t, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)) // the peak begins anew
	do()
	if took := t.resident("VmHWM") - before; took > most {
		t.Errorf("it took %d MiB, and may take %d", took, most)
	}
	debug.FreeOSMemory() // of the engine's stacks
	if after := t.resident("VmRSS") - before; after > kept {
		t.Errorf("%d MiB are left of it", after)
	}
}

// resident reads a size from the process's status, in MiB.
func (t *trial) resident(field string) (mib int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	_, after, _ := strings.Cut(string(status), field+":")
	if _, err := fmt.Sscan(after, &mib); err != nil {
		t.Fatal(err)
	}
	return mib >> 10
}

// testBomb measures, and so runs alone.
func testBomb(t *trial) {
	const limit, instances = 32, 4
	must(t, compile("bomb")) // the compiler takes memory of its own
	sp := spec("bomb", sdk.KindCredential)
	sp.Limits.Memory, sp.Limits.Instances = limit<<20, instances
	s := load(t, sp)
	s.works()
	if got := s.answers("defuse"); got != "calm" {
		t.Fatalf("got %q", got)
	}
	var errs [instances]error
	t.peak(instances*limit+48, func() {
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { _, errs[i] = s.ask("explode") })
		}
		all.Wait()
	})
	for _, err := range errs {
		t.refused(err, sdk.CodeLimit, `plugin "hostile"`, `limits.memory = "32 MiB"`, "raise it")
	}
	t.fails(errs[0], sdk.CodeLimit)
	if got := s.answers("defuse"); got != "calm" {
		t.Errorf("afterwards it answers %q", got)
	}
	s.works()
	sp = trusted(sp, "bomb")
	sp.Limits.Memory = 2 * limit << 20 // a process has more of its own
	s = load(t, sp)
	_, err := s.ask("explode")
	t.fails(err, sdk.CodeLimit, "limits.memory")
	if got := s.answers("defuse"); got != "calm" {
		t.Errorf("afterwards the process answers %q", got)
	}
	s.works()
}

// testRecursion measures too.
func testRecursion(t *trial) {
	must(t, compile("recursion"))
	sp := spec("recursion", sdk.KindCredential)
	sp.Limits.Memory = 32 << 20
	s := load(t, sp)
	s.works()
	t.peak(32+48, func() {
		_, err := s.ask("x")
		t.fails(err, sdk.CodeLimit, "limits.memory")
	})
	p := opened(t, handmade{call: itself}.encode(), transport.Limits{}, nobody{}, nil)
	t.peak(256, func() { // the stack of the engine
		_, err := p.Hello(t.Context())
		t.fails(err, sdk.CodeCrashed, "stack overflow")
	})
	s.works()
}
