package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
)

// neverCase is the name under which [hereMain] makes the attacks of the table.
const neverCase = "never"

// neverInPlace has a builder in a container make the attacks in place.
func neverInPlace(t *testing.T, rights string) []outcome {
	t.Helper()
	var all []outcome
	if out := inContainer(t, neverCase, rights); json.Unmarshal([]byte(out), &all) != nil || len(all) != len(neverRows()) {
		t.Fatalf("in the container: %s", out)
	}
	return all
}

// never is that builder. Its plugin waits while a RUN runs, as the host lets it.
func (h here) never() {
	const work, credential = HiddenDir + "/work/builder", "/root/config.json"
	b, err := newNeverBuilder(work, credential, "/bin/inside")
	h.must(err)
	h.before[credential] = true
	h.plain.Veil = []string{credential}
	b.image, b.run = h.plain.Dir, h.run
	h.must(os.Mkdir(h.plain.Dir+"/dev", 0o755))
	h.must(b.startPlugin("/bin/inside", true))
	all, err := json.Marshal(b.tryAll())
	fmt.Printf("%s", all)
	h.must(errors.Join(err, b.close()))
}
