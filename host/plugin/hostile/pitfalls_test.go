package hostile_test

// pitfalls are the ways in which plugins harm their hosts, by number. Each is claimed by tests: see claims.
var pitfalls = map[int]string{
	1: "endless loop", 2: "memory bomb", 3: "deep recursion", 4: "trap, then reuse", 5: "bad pointers and lengths",
	6: "response flood, log flood", 7: "concurrent use", 8: "sleeping past the deadline", 9: "blocking host function",
	10: "symlink escape", 11: "files through WASI", 12: "SSRF by redirect", 13: "DNS rebinding, metadata address",
	14: "transfer plan that points elsewhere", 15: "environment theft", 16: "theft of standard input", 17: "orphans",
	18: "grandchildren after a graceful exit", 19: "noise before the handshake", 20: "magic cookie taken for trust",
	21: "program swapped after the check", 22: "RUN reaches the plugin", 23: "compile cache poisoned", 24: "plugin substituted",
	25: "permissions that grow silently", 26: "secrets in logs", 27: "terminal escapes", 28: "predictable randomness, old clock",
	29: "malicious module bytes", 30: "cache that serves poison",
}

// claim says which pitfall a test shows the end of, and by what module of testdata.
type claim struct {
	row    int
	module string // empty: the test makes it
	does   string
	test   func(t *trial)
}

// claims are in the order of the table. Tests that measure the whole process do not call Parallel, and so run before the
// others.
var claims = []claim{
	{1, "loop", "turns for ever: in a call, when it is configured, in `_initialize`", testLoop},
	{2, "bomb", "allocates until it fails, in four instances at once", testBomb},
	{3, "recursion", "calls itself without end: in Go, and in a module made by hand", testRecursion},
	{4, "trap", "panics half way, and counts its calls", testTrap},
	{5, "pointers", "gives every host function addresses and lengths outside its memory", testPointers},
	{6, "flood", "answers with more than 16 MiB, logs and prints 20,000 lines", testFlood},
	{7, "concurrent", "notices whether it is asked one thing while it answers another", testConcurrent},
	{8, "sleeper", "sleeps for an hour", testSleeper},
	{9, "fifo", "has the host read a FIFO of the build context, and ask a server that never answers", testBlocking},
	{10, "symlink", "reads and lists what links of the build context lead to", testSymlink},
	{11, "wasi", "reads, lists, writes, makes and removes files, as any program does", testWASI},
	{12, "redirect", "asks a granted server, which redirects to one that is not granted", testRedirect},
	{13, "rebind", "asks for the metadata service, for loopback in all its spellings, for a name that changes its address", testRebind},
	{14, "plan", "is a cache that sends downloads and uploads to another server", testPlan},
	{15, "environ", "looks through its environment, and asks for variables", testEnviron},
	{16, "stdin", "reads standard input to its end", testStdin},
	{17, "orphan", "starts a child that ignores signals; the host is killed", testOrphan},
	{18, "grandchild", "starts a child that starts another, and ends of itself or as it is asked to", testGrandchild},
	{19, "noise", "prints a line before it serves", testNoise},
	{20, "cookie", "knows the cookie of the handshake, and serves without TLS", testCookie},
	{21, "swap", "is replaced on disk while it is checked and started", testSwap},
	{22, "reach", "has a RUN of its own look for its process, its socket and the compile cache", testReach},
	{23, "compiled", "writes into the compile cache; somebody else damages what is there, or owns the directory", testCompiled},
	{24, "substitute", "lies where the program was that trowel.lock names", testSubstitute},
	{25, "greedy", "asks in its manifest for hosts, variables and secrets, and uses them", testGreedy},
	{26, "leak", "has a server echo a secret, then logs, prints and returns it: plain, base64, hexadecimal", testLeak},
	{27, "escapes", "puts escape sequences into logs, output, errors, panics, notes, effects and descriptions", testEscapes},
	{28, "dice", "tells the time and throws dice", testDice},
	{29, "", "is text, a component, cut short at every byte, bit-flipped, 40 MiB long, or imports what there is not", testBytes},
	{30, "poison", "serves other bytes for a blob, and records that are garbled, moved or made up", testPoison},
}
