package author

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// cannedServices are the host as a case says it is. The plugin's requests pass through the codec of the true one.
type cannedServices struct {
	c   *Case
	log func(level sdk.Level, text string)

	mu       sync.Mutex
	made     map[int]bool // of the exchanges
	signed   int
	problems []string
}

// Do answers an operation of the host.
func (s *cannedServices) Do(ctx context.Context, op abi.HostOp, request []byte) []byte {
	return abi.HandleHost(ctx, sdk.Services{HTTP: s, Sign: s, Env: s, Files: s.c.files()}, op, request)
}

// Log passes on what the plugin says.
func (s *cannedServices) Log(level sdk.Level, text string) { s.log(level, text) }

// HTTP answers requests as the case has them.
func (s *cannedServices) HTTP(_ context.Context, requests []sdk.HTTPRequest) ([]sdk.HTTPResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	responses := make([]sdk.HTTPResponse, len(requests))
	for i, request := range requests {
		responses[i] = s.exchange(request)
	}
	return responses, nil
}

func (s *cannedServices) exchange(request sdk.HTTPRequest) sdk.HTTPResponse {
	for i, e := range s.c.HTTP {
		if s.made[i] || !e.matches(request) {
			continue
		}
		if s.made == nil {
			s.made = map[int]bool{}
		}
		s.made[i] = true
		if e.Response.Error != nil {
			return sdk.HTTPResponse{Error: e.Response.Error}
		}
		r := sdk.HTTPResponse{Status: e.Response.Status, Body: []byte(e.Response.Body)}
		for name, value := range e.Response.Header {
			r.Header = append(r.Header, sdk.Header{Name: name, Value: value})
		}
		return r
	}
	s.problems = append(s.problems, fmt.Sprintf("it makes a request that the case does not have: %s %s", request.Method, request.URL))
	return sdk.HTTPResponse{Error: &sdk.Error{Code: sdk.CodeDenied, Message: "the case has no such request"}}
}

func (e Exchange) matches(request sdk.HTTPRequest) bool {
	if e.Request.Method != request.Method || e.Request.URL != request.URL {
		return false
	}
	for name, value := range e.Request.Header {
		if sdk.HeaderValue(request.Header, name) != value {
			return false
		}
	}
	return e.Request.Body == nil || *e.Request.Body == string(request.Body)
}

// Sign answers as the case has it.
func (s *cannedServices) Sign(context.Context, sdk.SignRequest) (sdk.SignResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signed >= len(s.c.Sign) {
		s.problems = append(s.problems, "it asks for a signature that the case does not have")
		return sdk.SignResponse{}, &sdk.Error{Code: sdk.CodeDenied, Message: "the case has no such signature"}
	}
	var response sdk.SignResponse
	err := json.Unmarshal(s.c.Sign[s.signed], &response)
	s.signed++
	return response, err
}

// Env gives the variables of the case.
func (s *cannedServices) Env(_ context.Context, names []string) ([]sdk.Variable, error) {
	var variables []sdk.Variable
	for _, name := range names {
		if value, ok := s.c.Env[name]; ok {
			variables = append(variables, sdk.Variable{Name: name, Value: value})
		}
	}
	return variables, nil
}

// rest tells of what the plugin did that the case does not have, and the other way round.
func (s *cannedServices) rest(f *findings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.problems {
		f.problem("%s", p)
	}
	for i, e := range s.c.HTTP {
		if !s.made[i] {
			f.problem("it does not make the request: %s %s", e.Request.Method, e.Request.URL)
		}
	}
	if s.signed < len(s.c.Sign) {
		f.problem("it asks for %d signatures, and should ask for %d", s.signed, len(s.c.Sign))
	}
}

// tree is files by root and name.
type tree map[sdk.Root]map[string]string

func (t tree) files(root sdk.Root, name string) (map[string]string, string) {
	return t[root], strings.TrimPrefix(path.Clean("/"+name), "/")
}

// ReadFile returns a file.
func (t tree) ReadFile(_ context.Context, root sdk.Root, name string) ([]byte, error) {
	files, clean := t.files(root, name)
	if content, ok := files[clean]; ok {
		return []byte(content), nil
	}
	return nil, noFiles{}.missing(name)
}

// Stat describes a file or a directory.
func (t tree) Stat(ctx context.Context, root sdk.Root, name string) (sdk.FileInfo, error) {
	files, clean := t.files(root, name)
	if content, ok := files[clean]; ok {
		return sdk.FileInfo{Name: path.Base(clean), Size: int64(len(content)), Mode: 0o644}, nil
	}
	if _, err := t.ReadDir(ctx, root, name); err != nil {
		return sdk.FileInfo{}, err
	}
	return sdk.FileInfo{Name: path.Base("/" + clean), Mode: fs.ModeDir | 0o755}, nil
}

// ReadDir lists a directory.
func (t tree) ReadDir(_ context.Context, root sdk.Root, name string) ([]sdk.FileInfo, error) {
	files, clean := t.files(root, name)
	found := map[string]sdk.FileInfo{}
	for file, content := range files {
		rest, below := strings.CutPrefix("/"+file, strings.TrimSuffix("/"+clean, "/")+"/")
		if !below {
			continue
		}
		first, _, deeper := strings.Cut(rest, "/")
		found[first] = sdk.FileInfo{Name: first, Size: int64(len(content)), Mode: 0o644}
		if deeper {
			found[first] = sdk.FileInfo{Name: first, Mode: fs.ModeDir | 0o755}
		}
	}
	if len(found) == 0 && clean != "" {
		return nil, noFiles{}.missing(name)
	}
	entries := make([]sdk.FileInfo, 0, len(found))
	for _, info := range found {
		entries = append(entries, info)
	}
	slices.SortFunc(entries, func(a, b sdk.FileInfo) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}
