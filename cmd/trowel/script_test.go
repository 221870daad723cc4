package main

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host"
)

// launcher is that of this process: the scenarios run trowel as this very program.
var launcher *host.Launcher

func TestMain(m *testing.M) {
	launcher = host.NewLauncher()
	if what := os.Getenv(envSetUp); what != "" {
		fmt.Fprintln(os.Stderr, becomeUser(what))
		os.Exit(1)
	}
	testscript.Main(m, map[string]func(){
		"trowel":    func() { os.Exit(start(launcher)) },
		"executor":  func() { os.Exit(start(launcher)) },
		"warmer":    func() { os.Exit(start(launcher)) },
		"tarls":     func() { os.Exit(report(tarList(os.Args[1]))) },
		"jsonlines": func() { os.Exit(report(jsonLines(os.Args[1], os.Args[2:]))) },
	})
}

func report(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestScripts runs the scenarios of testdata/script. Each has a registry, a home and a cache of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	s := &scenarios{}
	testscript.Run(t, testscript.Params{
		Dir:                "../../testdata/script",
		Setup:              s.setup,
		Condition:          s.condition,
		RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"mkbase":     s.makeBase,
			"mkindex":    makeIndex,
			"mkdocker":   makeDocker,
			"mkplugin":   s.makePlugin,
			"mktrowel":   makeTrowel,
			"lesson":     openLesson,
			"freeport":   freePort,
			"listening":  waitListening,
			"guard":      guard,
			"terminate":  terminate,
			"web":        serveWeb,
			"mkregistry": makeRegistry,
			"remember":   remember,
			"fill":       fill,
			"sshkey":     makeKey,
			"mtime":      setModTime,
			"flip":       flip,
			"running":    running,
			"nomount":    noMount,
			"noentries":  noEntries,
		},
	})
}

// scenarios is what scenarios share: things that are made once.
type scenarios struct {
	base    sync.Once
	image   v1.Image
	baseErr error

	doctor  sync.Once
	permits bool

	plugins sync.Map // by name and target: *compiledPlugin
}

func (s *scenarios) setup(env *testscript.Env) error {
	server := httptest.NewServer(registry.New(registry.Logger(quiet()), registry.WithReferrersSupport(true)))
	env.Defer(server.Close)
	home, temporary := filepath.Join(env.WorkDir, "home"), filepath.Join(env.WorkDir, "tmp")
	for _, d := range []string{home, temporary} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	env.Values[keyServers{}] = &servers{}
	env.Setenv("REGISTRY", strings.TrimPrefix(server.URL, "http://"))
	env.Setenv("HOME", home)
	env.Setenv("TMPDIR", temporary)
	env.Setenv("CACHE", filepath.Join(home, ".cache/trowel"))
	for _, unset := range []string{"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "GITLAB_CI", "GITHUB_ACTIONS", "SOURCE_DATE_EPOCH", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "BUILDER_OUTPUT", "KANIKO_DIR", "CI_REGISTRY", "CI_JOB_TOKEN"} {
		env.Setenv(unset, "")
	}
	return nil
}

// condition knows [run], whether processes can be run in namespaces here, [owners], whether files can belong to more than one user, and
// [tree], whether the source tree and a compiler are here.
func (s *scenarios) condition(name string) (bool, error) {
	switch name {
	case "run":
		s.doctor.Do(func() { s.permits = canRun() })
		return s.permits, nil
	case "tree":
		_, err := os.Stat("../../go.mod")
		return err == nil, nil
	case "owners":
		return manyIDs(), nil
	case "root":
		return os.Getuid() == 0, nil
	case "raise":
		return mayRaiseLimits(), nil
	case "container":
		return os.Getenv(envContainer) != "", nil
	case "chroot":
		return hasInitially(unix.CAP_SYS_CHROOT, unix.CAP_MKNOD), nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

func canRun() bool {
	dir, err := os.MkdirTemp("", "doctor-")
	if err != nil {
		return false
	}
	defer os.RemoveAll(dir)
	doctor := exec.Command("trowel", "doctor", "--isolation", "namespaces", "--work-dir", dir)
	doctor.Env = append(os.Environ(), "HOME="+dir)
	return doctor.Run() == nil
}

// mayRaiseLimits says whether a hard limit can be raised: by CAP_SYS_RESOURCE in the machine's first user namespace, which
// containers have not.
func mayRaiseLimits() bool { return hasInitially(unix.CAP_SYS_RESOURCE) }

// hasInitially says whether this process has capabilities in the machine's first user namespace.
func hasInitially(capabilities ...uint) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	name, err := os.Readlink("/proc/self/ns/user")
	if err != nil || name != "user:[4026531837]" || unix.Capget(&header, &data[0]) != nil {
		return false
	}
	for _, c := range capabilities {
		if data[c/32].Effective&(1<<(c%32)) == 0 {
			return false
		}
	}
	return true
}

// manyIDs says whether files can have other owners than this user: for root, and for whom newuidmap gives IDs.
func manyIDs() bool {
	if os.Getuid() == 0 {
		text, err := os.ReadFile("/proc/self/uid_map")
		fields := strings.Fields(string(text))
		return err == nil && len(fields) >= 3 && fields[2] != "1"
	}
	if _, err := exec.LookPath("newuidmap"); err != nil {
		return false
	}
	text, err := os.ReadFile("/etc/subuid")
	if err != nil {
		return false
	}
	names := []string{strconv.Itoa(os.Getuid()), userName()}
	for line := range strings.Lines(string(text)) {
		owner, _, _ := strings.Cut(line, ":")
		if owner != "" && (owner == names[0] || owner == names[1]) {
			return true
		}
	}
	return false
}

// userName is this user's in /etc/passwd; empty if it has none.
func userName() string {
	text, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] == strconv.Itoa(os.Getuid()) {
			return f[0]
		}
	}
	return ""
}

// check ends the scenario unless err has what was wanted.
func check(ts *testscript.TestScript, err error) {
	if err != nil {
		ts.Fatalf("%v", err)
	}
}

func usage(ts *testscript.TestScript, neg bool, args []string, least int, text string) {
	if neg || len(args) < least {
		ts.Fatalf("usage: %s", text)
	}
}

var errNotMet = errors.New("it did not come to be")
