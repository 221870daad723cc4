package executor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A supervisor that outlives its builder puts the root directory in order, and has the lock until then. A process that it watches
// can stop it, as both are root, and nobody would let it go on: so whoever waits for the lock does, if the builder that took it is dead.

// orphanPatience is how long a supervisor has before it is looked for, and between two looks.
const orphanPatience = 2 * time.Second

// sign writes into the lock who has taken it. What a process in place makes of that is no worse than what it can do without.
func (h *inPlace) sign() error {
	self, ok := processOf(os.Getpid())
	if !ok {
		return nil // without a /proc nobody looks for anybody
	}
	if err := h.lock.Truncate(0); err != nil {
		return failure("sign lock", h.lock.Name(), err)
	}
	if _, err := fmt.Fprintf(h.lock, "%d %d\n", self.id, self.began); err != nil {
		return failure("sign lock", h.lock.Name(), err)
	}
	return nil
}

// takerDied says whether the lock is signed by somebody who is not there any more.
func (h *inPlace) takerDied() bool {
	text, err := os.ReadFile(h.lock.Name())
	if err != nil {
		return false
	}
	var id int
	var began uint64
	if _, err := fmt.Sscan(string(text), &id, &began); err != nil {
		return false
	}
	p, there := processOf(id)
	return !there || p.began != began
}

// letGoOn ends what stopped supervisors watch and lets them go on, if they have no builder.
func (h *inPlace) letGoOn() error {
	if !h.takerDied() {
		return nil
	}
	children := map[int][]int{}
	err := eachProcess(func(p process) error {
		children[p.parent] = append(children[p.parent], p.id)
		return nil
	})
	for _, siblings := range children {
		for _, id := range siblings {
			if !isStoppedSupervisor(id) {
				continue
			}
			err = errors.Join(err, killBelow(id, children)) // or they stop it again
			if contErr := unix.Kill(id, unix.SIGCONT); contErr != nil && !errors.Is(contErr, unix.ESRCH) {
				err = errors.Join(err, failure("let the supervisor go on", "", contErr))
			}
		}
	}
	return err
}

// killBelow kills the descendants of a process.
func killBelow(id int, children map[int][]int) error {
	var err error
	for _, child := range children[id] {
		err = errors.Join(err, kill(child), killBelow(child, children))
	}
	return err
}

func isStoppedSupervisor(id int) bool {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", id))
	if err != nil || !bytes.HasPrefix(name, []byte(argSupervise+"\x00")) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
	return err == nil && bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" T "))
}
