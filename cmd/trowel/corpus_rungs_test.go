package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/testdata/dockerfiles/corpus"
)

// difference is what of a case is otherwise in a rung.
type difference struct {
	why      string
	files    []string // that are other ones, or are not there
	unshown  []string // that the image has, and that a process sees with another owner
	refuses  string   // what the builder says instead of building
	succeeds bool     // where a process was meant to fail
	memory   bool     // it can be had in memory only: that it is refused elsewhere is the executor's to test
}

// leaveOut forgets the files that are not the same.
func (d difference) leaveOut(g *corpus.Golden) {
	for _, image := range g.Images {
		for _, path := range d.files {
			delete(image.Tree, path)
		}
		for i, names := range image.Layers {
			image.Layers[i] = slices.DeleteFunc(names, func(name string) bool {
				return slices.Contains(d.files, "/"+strings.Trim(name, "/"))
			})
		}
	}
}

// otherwise lists the cases of the corpus that a rung, or an ordinary user, cannot build to the same image.
var otherwise = map[string]map[string]difference{
	userManyIDs: {
		"copy-chown":       {why: shownInRange, unshown: []string{"/large"}},
		"40-archives":      {why: shownInRange, unshown: []string{"/x/large-id", "/y/large-id"}},
		"09-special-files": {why: "a user namespace makes no block device", refuses: "mknod: operation not permitted"},
	},
	userOneID: {
		"mount-cache":                {why: shownRoot, files: []string{"/out-owner"}},
		"mount-secret":               {why: shownRoot, files: []string{"/out-looks"}},
		"mount-ssh-owner":            {why: shownRoot, files: []string{"/out/group", "/out/owned", "/out/owner"}},
		"instr-run-security-granted": {why: "owners are recorded by a seccomp filter", refuses: `grep -q "^Seccomp:.0"`},
	},
	"supervised": except(chrooted, map[string]difference{"mount-secret": {
		why: "a secret is a file that no file system has: it has no links", files: []string{"/out-default", "/out-looks"},
	}}),
	"chroot": chrooted,
	"inplace": except(chrooted, map[string]difference{
		"mount-secret": {
			why: "a secret is a link to a file in the container's memory", files: []string{"/out-default", "/out-looks", "/out-ro"},
		},
		"instr-run-network":          {why: "a process without a network takes a namespace", refuses: "has the container's network there"},
		"instr-run-security-granted": {why: "the container has no more privileges", refuses: "more than a container's privileges"},
		"42-network-files-own":       {why: "/etc/hostname is a mount of the container's", refuses: `"/etc/hostname": something was written there`},
		"42-network-files-removed":   {}, // what is a mount stays
	}),
}

// except is what differs elsewhere too, with other differences for some cases.
func except(all, some map[string]difference) map[string]difference {
	all = maps.Clone(all)
	maps.Copy(all, some)
	return all
}

// chrooted is what differs where all that a process has to itself is a root directory.
var chrooted = map[string]difference{
	"scope-hostname":     {why: noHostName, files: []string{"/name"}},
	"29-run-environment": {why: noHostName, files: []string{"/tmp/env"}},
	"instr-run-network":  {why: "a process without a network takes a namespace", refuses: "cut off the network"},
	"instr-run-security-granted": {
		why: "the builder's privileges take namespaces", refuses: "give the builder's privileges",
	},

	"42-resolv-read-only":        {why: writable, succeeds: true},
	"42-network-files-read-only": {why: writable, succeeds: true},
	"42-network-files-removed":   {why: writable, succeeds: true},
	"mount-bind":                 {why: writable, files: []string{"/out-ro"}},
	"mount-secret":               {why: writable, files: []string{"/out-ro"}, memory: true},
	"mount-tmpfs":                {why: "a directory has no size", files: []string{"/out-full"}},
	"08-hardlinks-in-run": {
		why:   "names of one file stay that when it is changed; overlayfs cuts off the one that it was changed by",
		files: []string{"/a-link", "/d/a", "/d/m", "/d/more", "/d/z"},
	},
}

const (
	shownInRange = "an owner that the user's range of IDs does not reach is in the image, and is shown as root"
	shownRoot    = "who starts as root is shown root as the owner of every file"
	noHostName   = "a host name of its own takes a namespace: RUN sees the container's"
	writable     = "what is laid in the place of a read-only mount can be written to and removed, in vain"
)

// runs recognises a Dockerfile that runs something.
var runs = regexp.MustCompile(`(?mi)^\s*(ONBUILD\s+)?RUN\b`)

// TestCorpusInRungs builds each case that runs something without namespaces, in place in a container of its own: the image is
// the same.
func TestCorpusInRungs(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 || !hasInitially(unix.CAP_SYS_CHROOT, unix.CAP_MKNOD) {
		return // root's alone: see TestInDefaultContainer for less
	}
	for _, rung := range []string{"chroot", "supervised", "inplace"} {
		not := otherwise[rung]
		t.Run(rung, func(t *testing.T) {
			t.Parallel()
			var container *disposable
			if rung == "inplace" {
				if !hasInitially(unix.CAP_SYS_ADMIN) {
					return // for want of a container
				}
				container = new(newDisposable(t))
			}
			eachCase(t, func(r *corpusRun) {
				text, err := os.ReadFile(filepath.Join(corpusDir, "cases", r.c.Name+".txtar"))
				if err != nil {
					r.Fatal(err)
				}
				if !runs.Match(text) {
					return
				}
				r.isolation, r.container, r.differs = rung, container, not[r.c.Name]
				if r.differs.memory {
					if r.dir, err = os.MkdirTemp("/dev/shm", "trowel-test"); err != nil {
						r.Fatal(err)
					}
					r.Cleanup(func() { os.RemoveAll(r.dir) })
				}
				if r.differs.why != "" {
					r.Log(r.differs.why)
				}
				r.cold()
			})
		})
	}
}
