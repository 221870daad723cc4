package lower

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// validSignal accepts what Docker does: any number but 0, or a name with or without SIG, in any letter case.
func validSignal(signal string) bool {
	if n, err := strconv.Atoi(signal); err == nil {
		return n != 0
	}
	name := strings.TrimPrefix(strings.ToUpper(signal), "SIG")
	return slices.Contains(signalNames(), "SIG"+name)
}

// signalNames are the names of Linux's signals; the real-time ones have Docker's names, which meet in the middle.
func signalNames() []string {
	names := strings.Fields(`SIGABRT SIGALRM SIGBUS SIGCHLD SIGCLD SIGCONT SIGFPE SIGHUP SIGILL SIGINT SIGIO SIGIOT SIGKILL
		SIGPIPE SIGPOLL SIGPROF SIGPWR SIGQUIT SIGSEGV SIGSTKFLT SIGSTOP SIGSYS SIGTERM SIGTRAP SIGTSTP SIGTTIN SIGTTOU
		SIGURG SIGUSR1 SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ SIGRTMIN SIGRTMAX`)
	for i := 1; i <= 15; i++ {
		names = append(names, fmt.Sprintf("SIGRTMIN+%d", i))
	}
	for i := 1; i <= 14; i++ {
		names = append(names, fmt.Sprintf("SIGRTMAX-%d", i))
	}
	return names
}
