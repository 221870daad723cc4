package helper

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/trowel-build/trowel/sdk"
)

// install writes a helper script and returns an environment in which it is found.
func install(t *testing.T, name, script string) []string {
	t.Helper()
	dir := t.TempDir()
	// A process that another test starts just now must not inherit the open file: the script could not be run then.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return []string{"PATH=relative:" + dir + ":/usr/bin:/bin", "HELPER_HOME=" + dir}
}

func TestCredential(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-hunter2"
	for name, test := range map[string]struct {
		registry, script string
		want             sdk.Credential
		wantError        string
		notMine          bool
	}{
		"password": {
			registry: "registry.example.com",
			script:   `read -r server; test "$1 $server" = "get registry.example.com" || exit 3; echo '{"ServerURL":"x","Username":"me","Secret":"` + secret + `"}'`,
			want:     sdk.Credential{Kind: sdk.KindBasic, Username: "me", Secret: secret},
		},
		"Docker Hub": {
			registry: "docker.io",
			script:   `read -r server; echo "{\"Username\":\"me\",\"Secret\":\"$server\"}"`,
			want:     sdk.Credential{Kind: sdk.KindBasic, Username: "me", Secret: "https://index.docker.io/v1/"},
		},
		"identity token": {
			script: `echo '{"Username":"<token>","Secret":"` + secret + `"}'`,
			want:   sdk.Credential{Kind: sdk.KindIdentity, Secret: secret},
		},
		"not found": {
			script:  `echo "credentials not found in native keychain"; exit 1`,
			notMine: true,
		},
		"nothing": {
			script:  `echo '{"Username":"","Secret":""}'`,
			notMine: true,
		},
		"fails": {
			script:    `echo "bad token ` + secret + `"; echo ` + secret + ` >&2; exit 4`,
			wantError: "exit status 4",
		},
		"not JSON": {
			script:    `echo ` + secret,
			wantError: "something other than the JSON",
		},
		"endless": {
			script:    `head -c 3000000 /dev/zero`,
			wantError: "more than 1048576 bytes",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := New(Config{Name: "test", Environment: install(t, "test", test.script)})
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Credential(t.Context(), sdk.CredentialRequest{Registry: test.registry})
			if errors.Is(err, sdk.ErrNotMine) != test.notMine {
				t.Errorf("error %v", err)
			}
			if test.wantError != "" && (err == nil || !strings.Contains(err.Error(), test.wantError)) || test.wantError == "" && !test.notMine && err != nil {
				t.Errorf("error %v, want %q", err, test.wantError)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows the secret: %v", err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("credential (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNoSuchHelper(t *testing.T) {
	t.Parallel()
	p, err := New(Config{Name: "absent", Environment: []string{"PATH=/nonexistent:."}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Credential(t.Context(), sdk.CredentialRequest{Registry: "registry.example.com"})
	if err == nil || errors.Is(err, sdk.ErrNotMine) || !strings.Contains(err.Error(), `"docker-credential-absent": no such program on PATH`) {
		t.Errorf("error %v", err)
	}
	for _, name := range []string{"", "../x", "a/b"} {
		if _, err := New(Config{Name: name}); err == nil {
			t.Errorf("the name %q passed", name)
		}
	}
}

// TestDeadline has a helper hang, with a child that holds its output open.
func TestDeadline(t *testing.T) {
	t.Parallel()
	environment := install(t, "slow", "sleep 600 & echo $! > \"$HELPER_HOME/child\"; wait")
	p, err := New(Config{Name: "slow", Environment: environment, Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = p.Credential(t.Context(), sdk.CredentialRequest{Registry: "registry.example.com"})
	if err == nil || !strings.Contains(err.Error(), "no answer within 300ms") {
		t.Errorf("error %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	home := strings.TrimPrefix(environment[1], "HELPER_HOME=")
	child, err := os.ReadFile(filepath.Join(home, "child"))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); running(strings.TrimSpace(string(child))); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the helper's child is still there")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Credential(ctx, sdk.CredentialRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

// running says whether a process runs; one that nobody has waited for yet does not.
func running(pid string) bool {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	return err == nil && !strings.Contains(string(status), "State:\tZ")
}
