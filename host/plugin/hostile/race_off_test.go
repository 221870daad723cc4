//go:build !race

package hostile_test

// instrumented says that the race detector watches.
const instrumented = false
