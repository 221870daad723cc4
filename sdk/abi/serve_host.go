package abi

import (
	"context"
	"strconv"

	"github.com/trowel-build/trowel/sdk"
)

// HandleHost performs an operation that a plugin asked of the host, by the services, and returns the answer's envelope. It
// trusts nothing in the request; what the plugin may do is for the services to decide.
func HandleHost(ctx context.Context, s sdk.Services, op HostOp, request []byte) (envelope []byte) {
	switch op {
	case HostHTTP:
		return handle(request, DecodeHTTPRequests, AppendHTTPResponses, func(q HTTPRequests) (a HTTPResponses, err error) {
			if s.HTTP == nil {
				return a, noService("http")
			}
			a.Responses, err = s.HTTP.HTTP(ctx, q.Requests)
			return a, err
		})
	case HostSign:
		return handle(request, DecodeSignRequest, AppendSignResponse, func(q sdk.SignRequest) (sdk.SignResponse, error) {
			if s.Sign == nil {
				return sdk.SignResponse{}, noService("sign")
			}
			return s.Sign.Sign(ctx, q)
		})
	case HostEnv:
		return handle(request, DecodeEnvRequest, AppendEnvResponse, func(q EnvRequest) (a EnvResponse, err error) {
			if s.Env == nil {
				return a, noService("env")
			}
			a.Variables, err = s.Env.Env(ctx, q.Names)
			return a, err
		})
	case HostReadFile, HostStat, HostReadDir:
		return handleFile(ctx, s.Files, op, request)
	}
	return Fail(unsupported("the host has no operation " + strconv.FormatUint(uint64(op), 10)))
}

func handleFile(ctx context.Context, files sdk.FileSystem, op HostOp, request []byte) []byte {
	if files == nil {
		return Fail(noService("files"))
	}
	switch op {
	case HostReadFile:
		return handle(request, DecodeFileRequest, AppendReadFileResponse, func(q FileRequest) (a ReadFileResponse, err error) {
			a.Content, err = files.ReadFile(ctx, q.Root, q.Name)
			return a, err
		})
	case HostStat:
		return handle(request, DecodeFileRequest, AppendStatResponse, func(q FileRequest) (a StatResponse, err error) {
			a.Info, err = files.Stat(ctx, q.Root, q.Name)
			return a, err
		})
	}
	return handle(request, DecodeFileRequest, AppendReadDirResponse, func(q FileRequest) (a ReadDirResponse, err error) {
		a.Entries, err = files.ReadDir(ctx, q.Root, q.Name)
		return a, err
	})
}

// handle decodes a request, has it answered and encodes the answer.
func handle[Q, A any](request []byte, decode func([]byte, *Q) error, encode func([]byte, *A) []byte, do func(Q) (A, error)) []byte {
	var q Q
	if err := decode(request, &q); err != nil {
		return Fail(err)
	}
	a, err := do(q)
	if err != nil {
		return Fail(err)
	}
	return seal(encode([]byte(okHead), &a))
}

func noService(name string) error {
	return unsupported("the host has no service " + name + " for this plugin")
}
