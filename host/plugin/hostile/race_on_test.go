//go:build race

package hostile_test

// instrumented says that the race detector watches: it takes several times the memory.
const instrumented = true
