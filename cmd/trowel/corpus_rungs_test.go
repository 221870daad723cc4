package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"golang.org/x/sys/unix"
)

// otherwise lists the cases of the corpus that a rung cannot build to the same image, with the reason.
var otherwise = map[string]map[string]string{
	"chroot": {
		"scope-hostname":             noHostName,
		"29-run-environment":         noHostName,
		"instr-run-security-granted": "the builder's privileges take namespaces: it is refused",
		"instr-run-network":          "a process without a network takes a namespace: it is refused",
		"42-resolv-read-only":        writable,
		"42-network-files-read-only": writable,
		"08-hardlinks-in-run":        "names of one file stay that when it is changed; overlayfs cuts off the one that it was changed by",
	},
}

const (
	noHostName = "a host name of its own takes a namespace: RUN sees the container's"
	writable   = "what is laid in the place of a read-only mount can be written to, in vain"
)

// runs recognises a Dockerfile that runs something.
var runs = regexp.MustCompile(`(?mi)^\s*(ONBUILD\s+)?RUN\b`)

// TestCorpusInRungs builds each case that runs something without namespaces: the image is the same.
func TestCorpusInRungs(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 || !hasInitially(unix.CAP_SYS_CHROOT, unix.CAP_MKNOD) {
		return // root's alone: see TestInDefaultContainer for less
	}
	for rung, not := range otherwise {
		t.Run(rung, func(t *testing.T) {
			t.Parallel()
			eachCase(t, func(r *corpusRun) {
				text, err := os.ReadFile(filepath.Join(corpusDir, "cases", r.c.Name+".txtar"))
				if err != nil {
					r.Fatal(err)
				}
				if !runs.Match(text) {
					return
				}
				if why, ok := not[r.c.Name]; ok {
					r.Skip(why)
				}
				r.isolation = rung
				r.cold()
			})
		})
	}
}
