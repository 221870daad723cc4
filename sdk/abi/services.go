package abi

import (
	"context"

	"github.com/trowel-build/trowel/sdk"
)

// services are the [sdk.Services] of a plugin: each turns into an operation of the host.
type services struct{ host Host }

func servicesOf(host Host) sdk.Services {
	s := services{host}
	return sdk.Services{HTTP: s, Sign: s, Env: s, Files: s, Log: s}
}

// ask performs an operation of the host.
func ask[Q, A any](ctx context.Context, host Host, op HostOp, appendRequest func([]byte, *Q) []byte, request *Q,
	decodeAnswer func([]byte, *A) error,
) (A, error) {
	var answer A
	message, err := askRaw(ctx, host, op, appendRequest(nil, request))
	if err == nil {
		err = decodeAnswer(message, &answer)
	}
	return answer, withCause(ctx, err)
}

func askRaw(ctx context.Context, host Host, op HostOp, request []byte) ([]byte, error) {
	if len(request) > MaxRequest {
		return nil, tooLarge(len(request))
	}
	envelope, err := host.Do(ctx, op, request)
	if err != nil {
		return nil, err
	}
	// To look for the end of the message, as Result does, costs as much as to decode it. That finds what follows it, too.
	if end := len(envelope) - 1; end > len(okHead) && string(envelope[:len(okHead)]) == okHead && envelope[end] == '}' {
		return envelope[len(okHead):end], nil
	}
	return Result(envelope)
}

// HTTP implements [sdk.HTTPClient].
func (s services) HTTP(ctx context.Context, requests []sdk.HTTPRequest) ([]sdk.HTTPResponse, error) {
	answer, err := ask(ctx, s.host, HostHTTP, AppendHTTPRequests, &HTTPRequests{Requests: requests}, DecodeHTTPResponses)
	if err == nil && len(answer.Responses) != len(requests) {
		err = &sdk.Error{Code: sdk.CodeInternal, Message: "the host answered another number of requests than were made"}
	}
	if err != nil {
		return nil, err
	}
	return answer.Responses, nil
}

// Sign implements [sdk.Signer].
func (s services) Sign(ctx context.Context, request sdk.SignRequest) (sdk.SignResponse, error) {
	return ask(ctx, s.host, HostSign, AppendSignRequest, &request, DecodeSignResponse)
}

// Env implements [sdk.Environment].
func (s services) Env(ctx context.Context, names []string) ([]sdk.Variable, error) {
	answer, err := ask(ctx, s.host, HostEnv, AppendEnvRequest, &EnvRequest{Names: names}, DecodeEnvResponse)
	return answer.Variables, err
}

// ReadFile implements [sdk.FileSystem].
func (s services) ReadFile(ctx context.Context, root sdk.Root, name string) ([]byte, error) {
	answer, err := ask(ctx, s.host, HostReadFile, AppendFileRequest, &FileRequest{Root: root, Name: name}, DecodeReadFileResponse)
	return answer.Content, err
}

// Stat implements [sdk.FileSystem].
func (s services) Stat(ctx context.Context, root sdk.Root, name string) (sdk.FileInfo, error) {
	answer, err := ask(ctx, s.host, HostStat, AppendFileRequest, &FileRequest{Root: root, Name: name}, DecodeStatResponse)
	return answer.Info, err
}

// ReadDir implements [sdk.FileSystem].
func (s services) ReadDir(ctx context.Context, root sdk.Root, name string) ([]sdk.FileInfo, error) {
	answer, err := ask(ctx, s.host, HostReadDir, AppendFileRequest, &FileRequest{Root: root, Name: name}, DecodeReadDirResponse)
	return answer.Entries, err
}

// Log implements [sdk.Logger]. What is longer than MaxLog is cut.
func (s services) Log(ctx context.Context, level sdk.Level, text string) {
	s.host.Log(ctx, level, text[:min(len(text), MaxLog)])
}
