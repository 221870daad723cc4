package wasm

import (
	"context"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/sdk/abi"
)

// hostImport is a function that modules can import from trowel_v1.
type hostImport struct {
	name    string
	params  []api.ValueType
	results []api.ValueType
	call    func(ctx context.Context, s *session, memory api.Memory, args []uint64) int64
}

var (
	word  = []api.ValueType{api.ValueTypeI32}
	words = []api.ValueType{api.ValueTypeI32, api.ValueTypeI32, api.ValueTypeI32}
)

// imports are the functions of trowel_v1, of which there will be no more: what is added to the host are operations.
var imports = []hostImport{
	{"input", words, word, func(_ context.Context, s *session, m api.Memory, args []uint64) int64 {
		return within(m, args[0], args[2], func(p []byte) int64 { return copyOut(p, s.request, uint32(args[1])) })
	}},
	{"output", words[:2], word, func(_ context.Context, s *session, m api.Memory, args []uint64) int64 {
		return within(m, args[0], args[1], s.output)
	}},
	{"host", words, word, func(ctx context.Context, s *session, m api.Memory, args []uint64) int64 {
		return within(m, args[1], args[2], func(p []byte) int64 { return s.host(ctx, uint32(args[0]), p) })
	}},
	{"reply", words, word, func(_ context.Context, s *session, m api.Memory, args []uint64) int64 {
		return within(m, args[0], args[2], func(p []byte) int64 { return copyOut(p, s.reply, uint32(args[1])) })
	}},
	{"log", words, nil, func(_ context.Context, s *session, m api.Memory, args []uint64) int64 {
		length := min(uint64(uint32(args[2])), abi.MaxLog)
		return within(m, args[1], length, func(p []byte) int64 { s.log(uint32(args[0]), p); return 0 })
	}},
	{"stream_read", words, word, func(_ context.Context, s *session, m api.Memory, args []uint64) int64 {
		return within(m, args[1], args[2], func(p []byte) int64 { return s.read(uint32(args[0]), p) })
	}},
	{"stream_write", words, word, func(_ context.Context, s *session, m api.Memory, args []uint64) int64 {
		return within(m, args[1], args[2], func(p []byte) int64 { return s.write(uint32(args[0]), p) })
	}},
	{
		"stream_splice",
		[]api.ValueType{api.ValueTypeI32, api.ValueTypeI32, api.ValueTypeI64},
		[]api.ValueType{api.ValueTypeI64},
		func(ctx context.Context, s *session, _ api.Memory, args []uint64) int64 {
			return s.splice(ctx, uint32(args[0]), uint32(args[1]), int64(args[2]))
		},
	},
	{"stream_close", word, word, func(_ context.Context, s *session, _ api.Memory, args []uint64) int64 {
		return s.close(uint32(args[0]))
	}},
}

// within calls do with the part of guest memory that two arguments describe. Arguments of 32 bits come with anything in
// their upper halves.
func within(m api.Memory, ptr, length uint64, do func(p []byte) int64) int64 {
	p, ok := m.Read(uint32(ptr), uint32(length))
	if !ok {
		return negative(unix.EFAULT)
	}
	return do(p)
}

// provide gives a runtime the modules that plugins import from.
func provide(ctx context.Context, r wazero.Runtime) error {
	builder := r.NewHostModuleBuilder(hostModule)
	for _, i := range imports {
		builder = builder.NewFunctionBuilder().WithGoModuleFunction(i.function(), i.params, i.results).Export(i.name)
	}
	if _, err := builder.Instantiate(ctx); err != nil {
		return err
	}
	_, err := wasi_snapshot_preview1.Instantiate(ctx, r)
	return err
}

func (i hostImport) function() api.GoModuleFunc {
	return func(ctx context.Context, module api.Module, stack []uint64) {
		// A module's start runs in a session too: there is none without.
		s := ctx.Value(sessionKey{}).(*session)
		s.stint.pause()
		result := i.call(ctx, s, module.Memory(), stack)
		s.stint.resume()
		switch {
		case len(i.results) == 0:
		case i.results[0] == api.ValueTypeI32:
			stack[0] = uint64(uint32(result))
		default:
			stack[0] = uint64(result)
		}
	}
}
