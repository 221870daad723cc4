package host

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
)

// TestStepStartsEarly: a process of a step does not prepare the packages that only a build needs, as this whole program does.
func TestStepStartsEarly(t *testing.T) {
	const late = "init github.com/santhosh-tekuri/jsonschema/v6 "
	for _, test := range []struct {
		name string
		want bool
	}{
		{"trowel-step", false},
		{"trowel-supervise", false},
		{"trowel-sweep", false},
		{"trowel-serve", false},
		{"trowel", true},
	} {
		var errs bytes.Buffer
		cmd := exec.Command("/proc/self/exe", "-test.run=^$")
		cmd.Args[0], cmd.Stderr = test.name, &errs
		cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
		_ = cmd.Run() // a step without an order fails
		if !bytes.Contains(errs.Bytes(), []byte("init runtime ")) {
			t.Fatalf("%s: no trace of how it started:\n%s", test.name, errs.Bytes())
		}
		if got := bytes.Contains(errs.Bytes(), []byte(late)); got != test.want {
			t.Errorf("%s: prepared a package that only a build needs: %t, want %t", test.name, got, test.want)
		}
	}
}
