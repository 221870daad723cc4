package sdk

import (
	"context"
	"io/fs"
)

// Services are what the host does for a plugin while it answers a call. They are in the call's context, and are reached by
// the functions of this package: [HTTP], [Sign], [Env], [Files], [Log]. Each is subject to what the user granted; what was
// not granted is an [*Error] of the code [CodeDenied], never a crash.
type Services struct {
	HTTP  HTTPClient
	Sign  Signer
	Env   Environment
	Files FileSystem
	Log   Logger
}

// HTTPClient makes HTTP requests.
type HTTPClient interface {
	// HTTP makes the requests, at most 256, at once and returns an answer for each, in order. The answers may have 11 MiB
	// together. Its error is that of the whole call; what
	// became of one request is in its answer.
	HTTP(ctx context.Context, requests []HTTPRequest) ([]HTTPResponse, error)
}

// HTTPRequest is a request that the host makes. {{secret:NAME}} in a header's value or in URL's user information stands
// for a secret that was granted with the use "header".
type HTTPRequest struct {
	Method string   `json:"method"`
	URL    string   `json:"url"`
	Header []Header `json:"header,omitempty"`
	Body   []byte   `json:"body,omitempty"`
	// Sign has the host sign the request; nil sends it as it is.
	Sign *SignRequest `json:"sign,omitempty"`
	// MaxBytes bounds the answer's body; 0 means 4 MiB, which is the most.
	MaxBytes int64 `json:"maxBytes,omitempty"`
	// WantHeader are the names of the answer's header fields that are wanted; none means all. In a batch of many requests
	// those that nobody reads are most of what a plugin has to take in.
	WantHeader []string       `json:"wantHeader,omitempty"`
	Redirect   RedirectPolicy `json:"redirect,omitempty"`
	// TimeoutMillis bounds the request; 0 means what is left of the call's time.
	TimeoutMillis int64 `json:"timeoutMillis,omitempty"`
}

// HTTPResponse is the answer to one request.
type HTTPResponse struct {
	Status int      `json:"status,omitempty"`
	Header []Header `json:"header,omitempty"`
	Body   []byte   `json:"body,omitempty"`
	// Error says why there is no answer; the other fields are empty then.
	Error *Error `json:"error,omitempty"`
}

// Get returns the first value of a header field, or "".
func (r HTTPResponse) Get(name string) string { return HeaderValue(r.Header, name) }

// HeaderValue returns the first value of a field, or "". Names are compared without regard to ASCII case.
func HeaderValue(header []Header, name string) string {
	for _, h := range header {
		if equalFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

// equalFold spares plugins the tables of the package unicode.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x += 'a' - 'A'
		}
		if 'A' <= y && y <= 'Z' {
			y += 'a' - 'A'
		}
		if x != y {
			return false
		}
	}
	return true
}

// Signer uses secrets that a plugin never sees.
type Signer interface {
	Sign(ctx context.Context, request SignRequest) (SignResponse, error)
}

// SignRequest says what is signed, and how. The secret must be granted with the use of the same name as the method; the
// host of the URL must be among those that the grant names.
type SignRequest struct {
	// Method is how: "sign-aws4" or "hmac-sha256".
	Method SignMethod `json:"method"`
	Secret string     `json:"secret"` // the name of the grant
	// AWS says how an HTTP request is signed.
	AWS *AWSRequest `json:"aws,omitempty"`
	// Data is what hmac-sha256 authenticates.
	Data []byte `json:"data,omitempty"`
}

// SignMethod is a way to sign.
type SignMethod string

// The ways to sign.
const (
	SignAWS4 SignMethod = "sign-aws4"   // AWS Signature Version 4
	SignHMAC SignMethod = "hmac-sha256" // HMAC with SHA-256
)

// AWSRequest is a request to be signed by AWS Signature Version 4. The access key's ID and a session token may be given as
// {{secret:NAME}}, with grants of the use "sign-aws4" too.
type AWSRequest struct {
	HTTPMethod   string   `json:"httpMethod,omitempty"` // not needed within an [HTTPRequest], nor are URL and Header
	URL          string   `json:"url,omitempty"`
	Header       []Header `json:"header,omitempty"`
	AccessKeyID  string   `json:"accessKeyId"`
	SessionToken string   `json:"sessionToken,omitempty"`
	Region       string   `json:"region"`
	Service      string   `json:"service"`
	// PayloadHash is the hexadecimal SHA-256 of the body; empty means that of the request's body, or UNSIGNED-PAYLOAD
	// where there is none at hand.
	PayloadHash string `json:"payloadHash,omitempty"`
	// PresignSeconds makes a URL that is valid for so long instead of headers.
	PresignSeconds int64 `json:"presignSeconds,omitempty"`
}

// SignResponse is what was signed: headers to add, a URL to use, or a signature, by the request.
type SignResponse struct {
	Header    []Header `json:"header,omitempty"`
	URL       string   `json:"url,omitempty"`
	Signature []byte   `json:"signature,omitempty"`
}

// Environment gives the environment variables that were granted by name.
type Environment interface {
	// Env returns the variables that are set, in any order.
	Env(ctx context.Context, names []string) ([]Variable, error)
}

// Variable is an environment variable.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
}

// Root is a tree of files that an instruction handler may read.
type Root string

// The trees of files.
const (
	RootContext Root = "context" // the build context, behind .dockerignore
	RootStage   Root = "stage"   // the stage as the instructions above left it
)

// FileSystem gives the files of the build to instruction handlers. Links are followed inside the root. What is neither a
// regular file nor a directory cannot be read.
type FileSystem interface {
	// ReadFile returns a regular file whole, at most 16 MiB.
	ReadFile(ctx context.Context, root Root, name string) ([]byte, error)
	// Stat describes a file, following links.
	Stat(ctx context.Context, root Root, name string) (FileInfo, error)
	// ReadDir lists a directory, sorted by name, links not followed.
	ReadDir(ctx context.Context, root Root, name string) ([]FileInfo, error)
}

// FileInfo describes a file. It says nothing of times, owners or devices: those must not decide what is built.
type FileInfo struct {
	Name string      `json:"name"` // its last element
	Size int64       `json:"size,omitempty"`
	Mode fs.FileMode `json:"mode"` // type and permission
}

// Logger takes messages for the user.
type Logger interface {
	Log(ctx context.Context, level Level, text string)
}

// Level says how much a message matters.
type Level string

// The levels of messages.
const (
	LevelDebug   Level = "debug"
	LevelInfo    Level = "info"
	LevelWarning Level = "warning"
	LevelError   Level = "error"
)

type servicesKey struct{}

// WithServices returns a context in which the functions of this package use s. Transports call it; a plugin's own tests
// may, to stand in for the host.
func WithServices(ctx context.Context, s Services) context.Context {
	return context.WithValue(ctx, servicesKey{}, s)
}

func services(ctx context.Context) Services {
	s, _ := ctx.Value(servicesKey{}).(Services)
	return s
}

// noService is the error where a call's context has no such service.
func noService(name string) error {
	return &Error{Code: CodeUnsupported, Message: "there is no service " + name + " in this context"}
}

// maxRequests is how many requests the host makes at once.
const maxRequests = 256

// HTTP has the host make requests, as many at once as it does. See [HTTPClient].
func HTTP(ctx context.Context, requests ...HTTPRequest) ([]HTTPResponse, error) {
	s := services(ctx).HTTP
	if s == nil {
		return nil, noService("http")
	}
	var answers []HTTPResponse
	for len(requests) > 0 {
		n := min(len(requests), maxRequests)
		some, err := s.HTTP(ctx, requests[:n])
		if err != nil {
			return nil, err
		}
		answers, requests = append(answers, some...), requests[n:]
	}
	return answers, nil
}

// Sign has the host sign something with a secret. See [Signer].
func Sign(ctx context.Context, request SignRequest) (SignResponse, error) {
	if s := services(ctx).Sign; s != nil {
		return s.Sign(ctx, request)
	}
	return SignResponse{}, noService("sign")
}

// Env returns the value of an environment variable, or "" if it is not set. One that was not granted is an error.
func Env(ctx context.Context, name string) (string, error) {
	s := services(ctx).Env
	if s == nil {
		return "", noService("env")
	}
	vars, err := s.Env(ctx, []string{name})
	if err != nil || len(vars) == 0 {
		return "", err
	}
	return vars[0].Value, nil
}

// ReadFile returns a file of the build. See [FileSystem].
func ReadFile(ctx context.Context, root Root, name string) ([]byte, error) {
	if s := services(ctx).Files; s != nil {
		return s.ReadFile(ctx, root, name)
	}
	return nil, noService("files")
}

// Stat describes a file of the build. See [FileSystem].
func Stat(ctx context.Context, root Root, name string) (FileInfo, error) {
	if s := services(ctx).Files; s != nil {
		return s.Stat(ctx, root, name)
	}
	return FileInfo{}, noService("files")
}

// ReadDir lists a directory of the build. See [FileSystem].
func ReadDir(ctx context.Context, root Root, name string) ([]FileInfo, error) {
	if s := services(ctx).Files; s != nil {
		return s.ReadDir(ctx, root, name)
	}
	return nil, noService("files")
}

// Log shows a message to the user, where the level is wanted. Without a service it goes nowhere.
func Log(ctx context.Context, level Level, text string) {
	if s := services(ctx).Log; s != nil {
		s.Log(ctx, level, text)
	}
}
