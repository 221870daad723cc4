//go:build e2e

package main

import (
	"os"
	"testing"
)

// TestCorpusAsOthers builds each case of the corpus as ordinary users: the images are those that BuildKit made as root.
func TestCorpusAsOthers(t *testing.T) {
	if os.Getuid() != 0 || !manyIDs() {
		t.Fatal("root alone can become another user")
	}
	install(t, "uidmap")
	h := newHousehold(t, "testdata/dockerfiles")
	for _, user := range []string{userManyIDs, userOneID} {
		t.Run(user, func(t *testing.T) { h.test(t, user, "^TestCorpus$", "15m") })
	}
}
