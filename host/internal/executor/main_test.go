package executor

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests start steps through their own program, launcher, and run another in them, inside. Both are made once.
var (
	launcher *Launcher
	inside   string
)

// The tests run again in every environment that this machine permits: see TestElsewhere.
const (
	envInside = "TROWEL_TEST_INSIDE" // the program to run in steps, already built
	envProc   = "TROWEL_TEST_PROC"   // the kind of /proc that steps get
	envHold   = "TROWEL_TEST_HOLD"   // be a builder that runs one endless step: see TestBuilderKilled
	envIDs    = "TROWEL_TEST_IDS"    // how many IDs must be mapped
	envSetUp  = "TROWEL_TEST_SET_UP" // what to change before the tests, in a mount namespace of their own: see setUp
	envEnter  = "TROWEL_TEST_ENTER"  // root is to enter a user namespace too
	envSwaps  = "TROWEL_TEST_SWAPS"  // swap without end: see TestSwapKilled
	envHere   = "TROWEL_TEST_HERE"   // be a builder in a container: see TestInPlace
	envRights = "TROWEL_TEST_RIGHTS" // what that one may do
	envNested = "TROWEL_TEST_NESTED" // be a program that enters a user namespace: see TestEnterUserNamespace
)

func TestMain(m *testing.M) {
	if os.Args[0] == "/proc/self/exe" {
		os.Exit(printExecutable()) // a step has started us: see TestInterpreterIsOurselves
	}
	launcher = Main()
	if err := Harden(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if what := os.Getenv(envSetUp); what != "" {
		fmt.Fprintln(os.Stderr, setUp(what))
		os.Exit(1)
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if what := os.Getenv(envNested); what != "" {
		return nested(what)
	}
	if os.Getuid() != 0 || os.Getenv(envEnter) != "" && !launcher.inside {
		code, err := launcher.EnterUserNamespace(context.Background(), os.Args[1:])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}
	switch name := os.Getenv(envHere); name {
	case "":
	case "hold":
		return holdHere()
	default:
		return hereMain(name)
	}
	if root := os.Getenv(envSwaps); root != "" {
		return endlessSwaps(root)
	}
	if dir, ok := strings.CutPrefix(os.Getenv(envHold), "secret:"); ok {
		return holdSecret(dir)
	}
	if os.Getenv(envHold) != "" {
		return holdStep(os.Getenv(envHold))
	}
	dir, err := os.MkdirTemp("", "executor")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if inside = os.Getenv(envInside); inside == "" {
		inside = filepath.Join(dir, "inside")
		build := exec.Command("go", "build", "-o", inside, "./testdata/inside")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the program that runs inside: %v\n%s", err, out)
			return 1
		}
	}
	return m.Run()
}

// newRootfs makes a root file system of some layers, the lowest of which holds the program as /bin/inside.
func newRootfs(t testing.TB, layers int) Rootfs {
	t.Helper()
	r := emptyRootfs(t.TempDir())
	for i := range layers {
		name := fmt.Sprintf("layer-%03d", i)
		r.Lowers = append(r.Lowers, name)
		must(t, os.MkdirAll(filepath.Join(r.LayersDir, name), 0o755))
	}
	for _, d := range []string{"proc", "sys", "dev", "bin", "etc", "tmp"} {
		must(t, os.MkdirAll(filepath.Join(base(r), d), 0o755))
	}
	must(t, os.Chmod(filepath.Join(base(r), "tmp"), 0o777|os.ModeSticky))
	for _, f := range []string{"etc/resolv.conf", "etc/hosts"} {
		must(t, os.WriteFile(filepath.Join(base(r), f), nil, 0o644))
	}
	copyProgram(t, filepath.Join(base(r), "bin/inside"))
	return r
}

func emptyRootfs(dir string) Rootfs {
	r := Rootfs{
		LayersDir: filepath.Join(dir, "layers"), Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
		Merged: filepath.Join(dir, "merged"),
	}
	for _, d := range []string{r.LayersDir, r.Upper, r.Work, r.Merged} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			panic(err)
		}
	}
	return r
}

// base is the directory of the lowest layer.
func base(r Rootfs) string { return filepath.Join(r.LayersDir, r.Lowers[len(r.Lowers)-1]) }

func copyProgram(t testing.TB, path string) {
	t.Helper()
	if os.Link(inside, path) == nil {
		return
	}
	program, err := os.ReadFile(inside)
	must(t, err)
	writeProgram(t, path, program)
}

func writeProgram(t testing.TB, path string, text []byte) {
	t.Helper()
	must(t, writeExecutable(path, text))
}

// ownProgram copies the tests' program to where everybody can start it.
func ownProgram(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	path := filepath.Join(filepath.Dir(inside), name)
	writeProgram(t, path, text)
	return path
}

// command is a process that runs the program.
func command(args ...string) Process {
	return Process{Args: append([]string{"inside"}, args...), Env: []string{"PATH=/bin"}, Dir: "/", Proc: Proc(os.Getenv(envProc))}
}

// outputOf runs a process and returns what it wrote.
func outputOf(t testing.TB, r Rootfs, p Process) (string, error) {
	t.Helper()
	var out bytes.Buffer
	p.Stdout, p.Stderr = &out, &out
	err := launcher.Run(t.Context(), r, p)
	return strings.TrimSuffix(out.String(), "\n"), err
}

// mustOutput is outputOf a process that has to succeed.
func mustOutput(t testing.TB, r Rootfs, p Process) string {
	t.Helper()
	out, err := outputOf(t, r, p)
	if err != nil {
		t.Fatalf("run %q: %v\n%s", p.Args, err, out)
	}
	return out
}

func userNamespace(t testing.TB) UserNamespace {
	t.Helper()
	ns, err := launcher.UserNamespace()
	must(t, err)
	return ns
}

// entries lists what a directory holds.
func entries(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	list, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// everybodysTemp makes a directory for temporary files of any user; the machine's may be root's alone.
func everybodysTemp(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(inside), "tmp")
	must(t, err)
	must(t, os.Chmod(dir, 0o777|os.ModeSticky))
	return dir
}

// TestElsewhere runs the other tests again: with the builder's /proc, as root of a user namespace, and as ordinary users.
// An ordinary user's own tests run in a user namespace from the start.
func TestElsewhere(t *testing.T) {
	if os.Getenv(envInside) != "" {
		return // this is elsewhere
	}
	program := ownProgram(t, "tests")
	start := func(name string, env []string, attr *syscall.SysProcAttr) {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), program, "-test.count=1", "-test.timeout=3m", "-test.v="+fmt.Sprint(testing.Verbose()))
			cmd.Env = append(append(os.Environ(), envInside+"="+inside, "TMPDIR="+everybodysTemp(t)), env...)
			cmd.SysProcAttr = attr
			cmd.Dir = "/"
			out, err := cmd.CombinedOutput()
			if err != nil || testing.Verbose() {
				t.Logf("%v\n%s", err, out)
			}
			if err != nil {
				t.Fail()
			}
		})
	}
	start("bound proc", []string{envProc + "=bound"}, nil)
	if !userNamespace(t).Initial {
		return
	}
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	ownMounts := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	start("root", []string{envIDs + "=4294967295", envEnter + "=1"}, nil)
	start("root, masked proc", []string{envIDs + "=4294967295", envEnter + "=1", envSetUp + "=mask"}, ownMounts)
	start("one ID", []string{envIDs + "=1"}, nobody)
	many := envIDs + "=65537"
	if _, err := exec.LookPath("newuidmap"); err != nil {
		many = envIDs + "=1"
	}
	start("many IDs", []string{many, envSetUp + "=user"}, ownMounts)
	start("many IDs, masked proc", []string{many, envSetUp + "=user mask"}, ownMounts)
}

// TestHere makes sure that the tests run where TestElsewhere meant them to.
func TestHere(t *testing.T) {
	ns := userNamespace(t)
	if want := os.Getenv(envIDs); want != "" && (want != fmt.Sprint(ns.IDs) || ns.Initial || !ns.Own) {
		t.Errorf("user namespace: %+v, want %s IDs", ns, want)
	}
	if want := os.Getenv(envIDs) == ""; want != ns.Initial && !ns.Own {
		t.Errorf("user namespace: %+v", ns)
	}
}
