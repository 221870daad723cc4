package hostile_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

func testTrap(t *trial) {
	t.Parallel()
	sp := spec("trap", sdk.KindCredential)
	sp.Limits.Instances = 1
	s := load(t, sp)
	for range 2 {
		if got := s.answers("count"); got != "call 1" {
			t.Errorf("%s of its instance", got)
		}
		_, err := s.ask("trap")
		t.fails(err, sdk.CodeCrashed, "panic: half done")
	}
	t.happened = []string{t.happened[0], "the next call has an instance of its own"}
	s.works()
}

func testConcurrent(t *trial) {
	t.Parallel()
	sp := spec("concurrent", sdk.KindCredential)
	sp.Limits.Instances = 4
	s := load(t, sp)
	const callers, calls = 16, 20
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for n := range calls {
				question := fmt.Sprintf("%d-%d", caller, n)
				if answer, err := s.ask(question); err != nil || answer != question {
					t.Errorf("asked %s: %q, %v", question, answer, err)
				}
			}
		})
	}
	all.Wait()
	t.happens("each instance has one call at a time: %d callers get the answers to their own questions", callers)
	s.works()
}

func testDice(t *trial) {
	t.Parallel()
	must(t, compile("dice"))
	seen := map[string]bool{}
	thrown := func(kind sdk.Kind, text string) {
		t.Helper()
		clock, dice, _ := strings.Cut(text, " ")
		seconds, err := strconv.ParseInt(clock, 10, 64)
		must(t, err)
		if off := time.Since(time.Unix(seconds, 0)).Abs(); off > time.Minute || len(dice) != 32 {
			t.Errorf("a %s plugin's clock is off by %v, its dice show %q", kind, off, dice)
		}
		if seen[dice] {
			t.Errorf("a %s plugin throws %s again", kind, dice)
		}
		seen[dice] = true
	}
	for range 2 { // first instances
		s := load(t, spec("dice", sdk.KindCredential))
		for range 2 {
			thrown(sdk.KindCredential, s.answers("x"))
		}
		s = load(t, spec("dice", sdk.KindCache))
		records, err := s.set.Caches[0].Backend.GetRecords(t.Context(), []sdk.Key{"k"})
		must(t, err)
		thrown(sdk.KindCache, string(records[0].Value))
	}
	t.happens("caches and credential providers have the real clock, and randomness that differs in every instance")
	var plans []string
	for range 2 {
		s := load(t, spec("dice", sdk.KindInstruction))
		for range 2 {
			plan, err := s.set.Instructions[0].Handler.Plan(t.Context(), sdk.Call{Keyword: "DICE", Workdir: "/", Platform: "linux/amd64"})
			must(t, err)
			plans = append(plans, plan.Notes[0])
		}
		s.works()
	}
	for _, p := range plans {
		if p != plans[0] || !strings.HasPrefix(p, "164") { // 2022
			t.Errorf("equal calls of an instruction see %q", plans)
		}
	}
	t.happens("instructions, on purpose, see the same in every call")
}
