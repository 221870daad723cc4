package executor

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// A directory that is made anew is another one: who is in it, or has it open, is left with one that was removed. That would be the
// job's own shell, and the builder, which has the build context open. So such a directory stays, as a spine does.

// heldBelow finds, when it is first asked, the directories below a root in which processes are, and those that this one has
// open. Of processes that are not this one's to look into nothing is known.
func heldBelow(root string) func() []string {
	return sync.OnceValue(func() []string {
		links, _ := filepath.Glob("/proc/[0-9]*/cwd") // the pattern is right
		own, _ := filepath.Glob("/proc/self/fd/*")
		var held []string
		for _, link := range append(links, own...) {
			target, err := os.Readlink(link)
			if err != nil {
				continue
			}
			if where, ok := within(root, target); ok && where != "" && isDirectory(link) {
				held = append(held, where)
			}
		}
		return held
	})
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// hold makes a spine of a directory that cannot be moved whole, if it or one below it is held.
func (s *swap) hold(where string) bool {
	for _, h := range s.held() {
		if h == where || strings.HasPrefix(h, where+"/") {
			s.j.addSpine(where)
			return true
		}
	}
	return false
}
