package abi

import (
	"context"
	"io"
	"slices"
	"strconv"
	"sync"

	"github.com/trowel-build/trowel/sdk"
)

// Server is a plugin's end: it turns operations into calls of the sdk interfaces. Handle may be called from several
// goroutines at once.
//
// Server does not recover a panic of the plugin. In Wasm it ends the instance, which the host discards; a process has to
// decide what a panic ends.
type Server struct {
	plugin sdk.Plugin

	mu sync.Mutex // held while a kind is constructed

	cache       sdk.CacheReader
	credential  sdk.CredentialProvider
	instruction sdk.InstructionHandler
}

// sdkName tells the host what a plugin was built with.
const sdkName = "go 1"

// NewServer makes the end of a plugin.
func NewServer(p sdk.Plugin) *Server { return &Server{plugin: p} }

// FileSharer is implemented by a [Host] and a [Conn] between which the plugin and the host see the same files, so that a
// cache may answer with the path of one. The host does not believe paths from others.
type FileSharer interface {
	SharesFiles() bool
}

func sharesFiles(transport any) bool {
	s, ok := transport.(FileSharer)
	return ok && s.SharesFiles()
}

// Handle performs an operation and returns the answer's envelope. The first must be OpHello: it constructs what the plugin
// has of the kind that it names, with the configuration in it. A later OpHello of the same kind constructs nothing.
//
// While a call runs, the functions of package sdk ask the host for services by way of ctx.
func (s *Server) Handle(ctx context.Context, host Host, op Op, request []byte) (envelope []byte) {
	ctx = sdk.WithServices(ctx, servicesOf(host))
	switch op {
	case OpHello:
		return handle(request, DecodeHelloRequest, AppendHelloResponse, func(q HelloRequest) (HelloResponse, error) {
			return s.hello(ctx, q)
		})
	case OpGetRecords, OpPutRecords, OpStatBlobs, OpGetBlob, OpPutBlob, OpPlanPut, OpFinishPut:
		return s.handleCache(ctx, host, op, request)
	case OpCredential:
		provider := get(s, &s.credential)
		if provider == nil {
			return Fail(notStarted(sdk.KindCredential))
		}
		return handle(request, DecodeCredentialRequest, AppendCredential, func(q sdk.CredentialRequest) (sdk.Credential, error) {
			return provider.Credential(ctx, q)
		})
	case OpDescribe, OpPlan:
		return s.handleInstruction(ctx, op, request)
	}
	return Fail(unsupported("the plugin has no operation " + strconv.FormatUint(uint64(op), 10)))
}

// get reads what hello may be about to set.
func get[T any](s *Server, v *T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *v
}

func notStarted(kind sdk.Kind) error {
	return invalid("the plugin was not started as one of kind " + string(kind))
}

func (s *Server) hello(ctx context.Context, q HelloRequest) (HelloResponse, error) {
	if q.ABI != Version {
		return HelloResponse{}, unsupported("the host speaks ABI " + strconv.Itoa(q.ABI) + " and the plugin ABI " + strconv.Itoa(Version))
	}
	answer := HelloResponse{Name: s.plugin.Name, Version: s.plugin.Version, SDK: sdkName, Kinds: s.kinds()}
	if !slices.Contains(answer.Kinds, q.Kind) {
		return HelloResponse{}, unsupported("the plugin is none of kind " + string(q.Kind))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	config := sdk.NewConfig(q.Config)
	var err error
	switch q.Kind {
	case sdk.KindCache:
		if err = construct(ctx, &s.cache, s.plugin.Cache, config); err == nil {
			answer.Features = cacheFeatures(s.cache)
		}
	case sdk.KindCredential:
		err = construct(ctx, &s.credential, s.plugin.Credential, config)
	case sdk.KindInstruction:
		err = construct(ctx, &s.instruction, s.plugin.Instruction, config)
	}
	if err != nil {
		return HelloResponse{}, err
	}
	return answer, nil
}

// construct makes a plugin's implementation of a kind, once.
func construct[T comparable](ctx context.Context, to *T, by func(context.Context, *sdk.Config) (T, error), config *sdk.Config) error {
	var none T
	if *to != none {
		return nil
	}
	made, err := by(ctx, config)
	if err == nil && made == none {
		err = &sdk.Error{Code: sdk.CodeInternal, Message: "the plugin's constructor returned nil"}
	}
	if err != nil {
		return err
	}
	*to = made
	return nil
}

func (s *Server) kinds() []sdk.Kind {
	var kinds []sdk.Kind
	if s.plugin.Cache != nil {
		kinds = append(kinds, sdk.KindCache)
	}
	if s.plugin.Credential != nil {
		kinds = append(kinds, sdk.KindCredential)
	}
	if s.plugin.Instruction != nil {
		kinds = append(kinds, sdk.KindInstruction)
	}
	return kinds
}

func cacheFeatures(c sdk.CacheReader) []string {
	var features []string
	if _, ok := c.(sdk.BlobWriter); ok {
		features = append(features, FeatureBlobWriter)
	}
	if _, ok := c.(sdk.UploadPlanner); ok {
		features = append(features, FeatureUploadPlanner)
	}
	return features
}

func (s *Server) handleInstruction(ctx context.Context, op Op, request []byte) []byte {
	handler := get(s, &s.instruction)
	if handler == nil {
		return Fail(notStarted(sdk.KindInstruction))
	}
	if op == OpPlan {
		return handle(request, DecodeCall, AppendPlan, func(q sdk.Call) (sdk.Plan, error) { return handler.Plan(ctx, q) })
	}
	return handle(request, DecodeEmpty, AppendDescribeResponse, func(Empty) (a DescribeResponse, err error) {
		a.Instructions, err = handler.Describe(ctx)
		return a, err
	})
}

// copyBuffer is how much of a blob a plugin holds at once.
const copyBuffer = 64 << 10

// copyAll is io.Copy with a reader and a writer that do nothing else, and a context.
func copyAll(ctx context.Context, to io.Writer, from io.Reader) (int64, error) {
	buffer := make([]byte, copyBuffer)
	var total int64
	for {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		n, err := from.Read(buffer)
		if n > 0 {
			written, err := to.Write(buffer[:n])
			total += int64(written)
			if err != nil {
				return total, err
			}
			if written < n {
				return total, io.ErrShortWrite
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
