package plugintest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugintest"
)

// faultEnv makes TestFaulty run the suites against an implementation with the fault it names.
const faultEnv = "TROWEL_TEST_FAULT"

var registries = plugintest.Registries{
	Known:   sdk.CredentialRequest{Registry: "registry.example.com", Repository: "team/app", Actions: []string{"pull"}},
	Unknown: "elsewhere.example.org",
}

func TestCache(t *testing.T) {
	t.Parallel()
	plugintest.Cache(t, func(*testing.T) sdk.Cache { return newMemory("") })
	plugintest.Records(t, func(*testing.T) sdk.RecordStore { return newMemory("") })
	plugintest.Blobs(t, func(*testing.T) sdk.BlobStore { return newMemory("") })
}

func TestCredentialProvider(t *testing.T) {
	t.Parallel()
	plugintest.CredentialProvider(t, func(*testing.T) sdk.CredentialProvider { return provider{} }, registries)
}

func TestPlannedCache(t *testing.T) {
	t.Parallel()
	plannedCache(t, "")
}

func plannedCache(t *testing.T, fault string) {
	plugintest.PlannedCache(t, func(t *testing.T) (plugintest.Planner, plugintest.Mover) { return newBucket(t, fault) })
}

func TestInstruction(t *testing.T) {
	t.Parallel()
	instruction(t, "")
}

func instruction(t *testing.T, fault string) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "name"), []byte("you"), 0o644); err != nil {
		t.Fatal(err)
	}
	call := sdk.Call{Keyword: "GREET", Args: []string{"name"}, Workdir: "/", Platform: "linux/amd64"}
	plugintest.Instruction(t, func(*testing.T) sdk.InstructionHandler { return newGreeter(fault) }, plugintest.Calls{
		Valid:   []sdk.Call{call},
		Invalid: []sdk.Call{{Keyword: "GREET", Workdir: "/", Platform: "linux/amd64"}},
		Host:    &plugintest.Host{Files: map[sdk.Root]string{sdk.RootContext: dir}},
	})
}

func TestFaulty(t *testing.T) {
	fault := os.Getenv(faultEnv)
	if fault == "" {
		t.Skip("run by TestSuitesFindFaults")
	}
	switch {
	case cacheFaults[fault] != "":
		plugintest.Cache(t, func(*testing.T) sdk.Cache { return newMemory(fault) })
		return
	case bucketFaults[fault] != "":
		plannedCache(t, fault)
		return
	case greeterFaults[fault] != "":
		instruction(t, fault)
		return
	}
	plugintest.CredentialProvider(t, func(*testing.T) sdk.CredentialProvider { return provider{fault} }, registries)
}

// cacheFaults and providerFaults say which check finds a fault.
var cacheFaults = map[string]string{
	"a batch has at most 100":         "records/a batch of 1000",
	"a missing record is answered":    "records/what is missing is left out",
	"values are shared":               "records/the value belongs to the caller",
	"any key will do":                 "records/a bad key is refused",
	"any size will do":                "records/a value above 1 MiB is refused",
	"a cancelled put stores half":     "records/a cancelled put leaves a whole record or none",
	"keys are cleaned":                "records/keys that look alike are different",
	"the first record stays":          "records/the later one replaces the earlier",
	"not found is another error":      "blobs/what is missing is not found",
	"content is read once":            "blobs/content can be opened twice",
	"any digest will do":              "blobs/a bad digest is refused",
	"lengths do not matter":           "blobs/short content is refused",
	"digests do not matter":           "blobs/content of another digest is refused",
	"a failed put is kept":            "blobs/content that breaks off is refused",
	"a second put fails":              "blobs/putting one again is no error",
	"files are moved":                 "blobs/a put file is not changed",
	"a cancelled put says it is done": "blobs/a cancelled put leaves a whole blob or none",
}

var providerFaults = map[string]string{
	"cancelled is not mine":    "a cancelled request ends",
	"cancelled is nothing":     "a cancelled request ends",
	"looks like it":            "a registry that looks like a known one gets nothing",
	"unknown is an error":      "an unknown registry is not mine",
	"unknown has a credential": "an unknown registry is not mine",
	"untrimmed":                "a known registry gets a usable credential",
	"no kind":                  "a known registry gets a usable credential",
	"no secret":                "a known registry gets a usable credential",
	"expired":                  "a known registry gets a usable credential",
	"one reason":               "every reason is answered",
	"needs a repository":       "a request for the registry as a whole is answered or not mine",
}

// A suite that finds nothing proves nothing: each fault is found, by the check that is about it.
func TestSuitesFindFaults(t *testing.T) {
	t.Parallel()
	for _, faults := range []map[string]string{cacheFaults, providerFaults, bucketFaults, greeterFaults} {
		for fault, check := range faults {
			t.Run(fault, func(t *testing.T) {
				t.Parallel()
				name := "TestFaulty/" + strings.ReplaceAll(check, " ", "_")
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+strings.ReplaceAll(name, "/", "$/^")+"$")
				cmd.Env = append(os.Environ(), faultEnv+"="+fault)
				out, err := cmd.CombinedOutput()
				if err == nil {
					t.Fatalf("the suite found nothing: %s", out)
				}
				if !strings.Contains(string(out), "--- FAIL: "+name) {
					t.Errorf("the fault was not found by %q: %s", check, out)
				}
			})
		}
	}
}
