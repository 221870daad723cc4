package lower

import "testing"

// TestWriteMode: an octal --chmod would hold for the missing directories above a file too, and make them of no use.
func TestWriteMode(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]string{
		"": "", "644": "", "0644": "",
		"0600": "u=rw,g=,o=", "755": "u=rwx,g=rx,o=rx", "0000": "u=,g=,o=",
		"4755": "u=rwxs,g=rx,o=rx", "2755": "u=rwx,g=rxs,o=rx", "1777": "u=rwx,g=rwx,o=rwx,+t",
	} {
		if got := writeMode(mode); got != want {
			t.Errorf("writeMode(%q) is %q, want %q", mode, got, want)
		}
		if err := checkMode(writeMode(mode)); err != nil {
			t.Errorf("mode %q: %v", mode, err)
		}
	}
}
