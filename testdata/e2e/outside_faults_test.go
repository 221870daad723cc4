//go:build e2e

package e2e

// The modules of these tests can be told by their configuration to misbehave. The edits are those of an author who has had a
// bad day; the files that they are made in are those of the other modules.

// moduleFaults is a file of a WebAssembly plugin that goes wrong when it gets to a place for the time of a number.
const moduleFaults = `package main

import (
	"os"
	"strings"
	"unsafe"

	"github.com/trowel-build/trowel/sdk"
)

//go:wasmimport trowel_v1 output
func output(address, length uint32) int32

var fault struct {
	kind, in  string
	at, calls int64
}

var hoard [][]byte

func arm(config *sdk.Config) {
	fault.kind, fault.in, fault.at = config.String("fault", ""), config.String("in", ""), config.Int("at", 1)
	reach("configure")
}

// reach says whether the plugin is to lie.
func reach(place string) bool {
	if fault.kind == "" || fault.in != place {
		return false
	}
	if fault.calls++; fault.calls != fault.at {
		return false
	}
	switch fault.kind {
	case "trap":
		panic("half done")
	case "exit":
		os.Exit(3)
	case "loop":
		for {
			fault.calls++
		}
	case "bomb":
		for {
			hoard = append(hoard, make([]byte, 1<<20))
		}
	case "deep":
		deep(0)
	case "range": // answers that are not in the memory, and then one that is none
		output(0xfffffff0, 64)
		output(0, 0xffffffff)
		say("no answer")
	case "flood":
		for range 400 {
			say(strings.Repeat("x", 1<<16))
		}
	}
	return fault.kind == "lie"
}

func say(text string) { output(uint32(uintptr(unsafe.Pointer(unsafe.StringData(text)))), uint32(len(text))) }

func deep(n int) int { return deep(n+1) + n }
`

// withFaults is edits with more of them.
func withFaults(edits []edit, more ...edit) []edit {
	return append(append([]edit{{"plugin.toml", `config-schema = "config.schema.json"`, ""}}, edits...), more...)
}

func faultyRelease() []edit {
	return withFaults(releaseEdits,
		edit{"fault.go", "", moduleFaults},
		edit{"main.go", "	return h, config.Err()", "	arm(config)\n	return h, config.Err()"},
		edit{"main.go", "	return []sdk.Instruction{{", `	if reach("describe") {
		return []sdk.Instruction{{Keyword: "RUN", MinArgs: -1}}, nil
	}
	return []sdk.Instruction{{`},
		edit{"main.go", "	version := strings", `	if reach("plan " + call.Args[1]) {
		return sdk.Plan{Effects: []sdk.Effect{{Mkdir: &sdk.Mkdir{Path: "/x", Mode: "rwx"}, Remove: &sdk.Remove{Path: "/etc"}}}}, nil
	}
	version := strings`},
	)
}

// storeLies is a file of the cache in which a store tells lies where the other file says so.
const storeLies = `package main

import (
	"context"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/objects"
)

type liar struct {
	objects.Store
	endpoint string
}

func (l liar) GetRecords(ctx context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	if reach("records") {
		return []sdk.Record{{Key: "somebody/elses", Value: []byte("x")}}, nil
	}
	return l.Store.GetRecords(ctx, keys)
}

func (l liar) StatBlobs(ctx context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	if reach("blobs") {
		return []sdk.Blob{{Digest: "sha256:00", Size: -1}}, nil
	}
	return l.Store.StatBlobs(ctx, digests)
}

func (l liar) GetBlob(ctx context.Context, digest sdk.Digest) (sdk.Content, error) {
	if reach("get") {
		return sdk.Content{Transfer: &sdk.Transfer{Parts: []sdk.TransferPart{{Method: "GET", URL: l.endpoint, Offset: -5, Length: 1 << 60}}}}, nil
	}
	return l.Store.GetBlob(ctx, digest)
}

func (l liar) PlanPut(ctx context.Context, blob sdk.Blob) (sdk.Transfer, error) {
	if reach("put") {
		return sdk.Transfer{Parts: []sdk.TransferPart{{Method: "PUT", URL: l.endpoint, Offset: 1 << 60}, {Method: "DELETE", Length: -1}}}, nil
	}
	return l.Store.PlanPut(ctx, blob)
}
`

func faultyShelf() []edit {
	return withFaults(shelfEdits,
		edit{"fault.go", "", moduleFaults},
		edit{"lies.go", "", storeLies},
		edit{"main.go", "	return objects.Store{", "	arm(config)\n	return liar{objects.Store{"},
		edit{"main.go", "	}}, config.Err()", "	}}, endpoint}, config.Err()"},
	)
}

// processFaults is a file of the credential provider that goes wrong in the call of a number.
const processFaults = `package main

import (
	"os"
	"os/exec"
	"syscall"

	"github.com/trowel-build/trowel/sdk"
)

var fault struct {
	kind      string
	at, calls int64
}

func arm(config *sdk.Config) { fault.kind, fault.at = config.String("fault", ""), config.Int("at", 1) }

// reach says whether the plugin is to lie.
func reach() bool {
	if fault.kind == "" {
		return false
	}
	if fault.calls++; fault.calls != fault.at {
		return false
	}
	switch fault.kind {
	case "exit":
		os.Exit(3)
	case "trap":
		go panic("half done")
		select {}
	case "hang":
		select {}
	case "hangup": // its own end of every connection
		for fd := 3; fd < 256; fd++ {
			_ = syscall.Shutdown(fd, syscall.SHUT_RDWR)
			_ = syscall.Close(fd)
		}
		select {}
	case "fork":
		if err := exec.Command("/bin/sleep", "300").Start(); err != nil {
			panic(err)
		}
		os.Exit(3)
	}
	return fault.kind == "lie"
}
`

// faultyVault has credentials that soon expire too, so that it is asked often.
func faultyVault() []edit {
	return withFaults(vaultEdits,
		edit{"fault.go", "", processFaults},
		edit{"main.go", "	return p, config.Err()", "	arm(config)\n	return p, config.Err()"},
		edit{"main.go", "	question, err :=", `	if reach() {
		return sdk.Credential{Kind: "nonsense", Username: "a\nb:c", Secret: "\x00"}, nil
	}
	question, err :=`},
		edit{"main.go", "	\"slices\"\n", "	\"slices\"\n	\"time\"\n"},
		edit{"main.go", "Secret: string(password)}", "Secret: string(password), Scope: sdk.ScopeRepository, ExpiresAt: time.Now().Add(500 * time.Millisecond)}"},
	)
}
