package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/trowel-build/trowel/testdata/lesson"
)

// openLesson copies an example to examples/NAME and writes the commands of its README to NAME.sh there, with text replaced
// as asked: "lesson NAME [OLD=NEW]...". What the commands compile is kept where Go keeps what this machine compiles.
func openLesson(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "lesson NAME [OLD=NEW]...")
	var pairs []string
	for _, pair := range args[1:] {
		before, after, ok := strings.Cut(pair, "=")
		if !ok {
			ts.Fatalf("%q is not OLD=NEW", pair)
		}
		pairs = append(pairs, before, after)
	}
	root, err := filepath.Abs("../..")
	check(ts, err)
	l, err := lesson.Open(root, args[0], ts.Getenv("WORK"), pairs...)
	check(ts, err)
	check(ts, os.WriteFile(filepath.Join(l.Dir, args[0]+".sh"), []byte(cleanUp+l.Script), 0o644))
	goEnvironment, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOFLAGS", "GOPROXY").Output()
	check(ts, err)
	values := strings.Split(string(goEnvironment), "\n")
	values[2] = strings.TrimSpace("-trimpath " + values[2]) // the directories of scenarios have names of their own
	for i, name := range []string{"GOCACHE", "GOMODCACHE", "GOFLAGS", "GOPROXY"} {
		ts.Setenv(name, values[i])
	}
}

// cleanUp goes before the commands of a README: what failed leaves no server behind.
const cleanUp = "trap 'kill $! 2>/dev/null || true' EXIT\n"

// freePort sets variables to addresses on loopback that nothing listens on: "freeport VARIABLE...".
func freePort(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "freeport VARIABLE...")
	for _, name := range args {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(ts, err)
		ts.Setenv(name, l.Addr().String())
		check(ts, l.Close())
	}
}

// waitListening waits until something listens on an address: "listening ADDRESS".
func waitListening(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "listening ADDRESS")
	for range 200 {
		if conn, err := net.Dial("tcp", args[0]); err == nil {
			check(ts, conn.Close())
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("listening %s: %v", args[0], errNotMet)
}

// guard puts a registry before $REGISTRY that wants a password, and sets a variable to its address: "guard VARIABLE USER
// PASSWORD".
func guard(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, "guard VARIABLE USER PASSWORD")
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: ts.Getenv("REGISTRY")})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != args[1] || password != args[2] {
			w.Header().Set("WWW-Authenticate", `Basic realm="guarded"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	ts.Defer(server.Close)
	ts.Setenv(args[0], strings.TrimPrefix(server.URL, "http://"))
}
