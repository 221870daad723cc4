package observe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/trowel-build/trowel/sdk"
)

// Read is one thing that was read, and what came of it.
type Read struct {
	Op     Op       `json:"op"`
	Root   sdk.Root `json:"root"`
	Name   string   `json:"name"`
	Result string   `json:"result"` // a digest
}

// Op is a way to read.
type Op string

// The ways to read.
const (
	OpFile Op = "file"
	OpStat Op = "stat"
	OpList Op = "list"
)

// maxReads bounds what is remembered of one plan; a plan that rests on more is not kept.
const maxReads = 10_000

// Recorder passes reads on and remembers them. It is safe for concurrent use.
type Recorder struct {
	files sdk.FileSystem

	mu    sync.Mutex
	seen  map[Read]bool // without results
	reads []Read
	lost  bool // something cannot be remembered
	fault error
}

// NewRecorder records what is read of files.
func NewRecorder(files sdk.FileSystem) *Recorder {
	return &Recorder{files: files, seen: map[Read]bool{}}
}

var _ sdk.FileSystem = (*Recorder)(nil)

// ReadFile is [sdk.FileSystem]'s.
func (r *Recorder) ReadFile(ctx context.Context, root sdk.Root, name string) ([]byte, error) {
	content, err := r.files.ReadFile(ctx, root, name)
	r.note(Read{Op: OpFile, Root: root, Name: name}, content, err)
	return content, err
}

// Stat is [sdk.FileSystem]'s.
func (r *Recorder) Stat(ctx context.Context, root sdk.Root, name string) (sdk.FileInfo, error) {
	info, err := r.files.Stat(ctx, root, name)
	r.note(Read{Op: OpStat, Root: root, Name: name}, info, err)
	return info, err
}

// ReadDir is [sdk.FileSystem]'s.
func (r *Recorder) ReadDir(ctx context.Context, root sdk.Root, name string) ([]sdk.FileInfo, error) {
	list, err := r.files.ReadDir(ctx, root, name)
	r.note(Read{Op: OpList, Root: root, Name: name}, list, err)
	return list, err
}

func (r *Recorder) note(read Read, result any, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, coded := errors.AsType[*sdk.Error](err); err != nil && !coded && r.fault == nil {
		r.fault = err
	}
	if r.seen[read] {
		return
	}
	r.seen[read] = true
	sum, ok := resultOf(result, err)
	if !ok || len(r.reads) == maxReads {
		r.lost = true
		return
	}
	read.Result = sum
	r.reads = append(r.reads, read)
}

// Fault is the first error that says nothing of the files, such as that of a damaged layer: whatever a plugin makes of it,
// its plan is not what it would be.
func (r *Recorder) Fault() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fault
}

// Reads are what was read, sorted; it is false if that cannot be told in full.
func (r *Recorder) Reads() ([]Read, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reads := slices.Clone(r.reads)
	slices.SortFunc(reads, func(a, b Read) int {
		return slices.Compare([]string{string(a.Root), a.Name, string(a.Op)}, []string{string(b.Root), b.Name, string(b.Op)})
	})
	return reads, !r.lost
}

// resultOf digests what came of a read. Errors that say something of the files count as well; others, such as that the
// build was cancelled, say nothing.
func resultOf(result any, err error) (string, bool) {
	h := sha256.New()
	switch coded := sdk.AsError(err); {
	case coded == nil:
		content, isBytes := result.([]byte)
		if !isBytes {
			var jsonErr error
			if content, jsonErr = json.Marshal(result); jsonErr != nil {
				return "", false
			}
		}
		fmt.Fprintf(h, "%T\n", result)
		h.Write(content)
	case coded.Code == sdk.CodeNotFound || coded.Code == sdk.CodeInvalid || coded.Code == sdk.CodeLimit || coded.Code == sdk.CodeDenied:
		fmt.Fprintf(h, "error\n%s", coded.Code)
	default:
		return "", false
	}
	return hex.EncodeToString(h.Sum(nil)), true
}

// Same says whether all reads would come to the same again.
func Same(ctx context.Context, files sdk.FileSystem, reads []Read) bool {
	for _, r := range reads {
		var result any
		var err error
		switch r.Op {
		case OpFile:
			result, err = files.ReadFile(ctx, r.Root, r.Name)
		case OpStat:
			result, err = files.Stat(ctx, r.Root, r.Name)
		case OpList:
			result, err = files.ReadDir(ctx, r.Root, r.Name)
		default:
			return false
		}
		if sum, ok := resultOf(result, err); !ok || sum != r.Result {
			return false
		}
	}
	return true
}
