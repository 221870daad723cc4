package service

import (
	"context"

	"github.com/trowel-build/trowel/sdk"
)

type filesKey struct{}

// WithFiles returns the context of a call in which the plugin reads these files.
func WithFiles(ctx context.Context, files sdk.FileSystem) context.Context {
	return context.WithValue(ctx, filesKey{}, files)
}

// fileService checks the grant and asks the files of the call.
type fileService struct{ s *Services }

func (f fileService) files(ctx context.Context, root sdk.Root) (sdk.FileSystem, error) {
	files, _ := ctx.Value(filesKey{}).(sdk.FileSystem)
	o := f.s.options
	switch {
	case root != sdk.RootContext && root != sdk.RootStage:
		return nil, fault(sdk.CodeInvalid, "%q is no tree of files: there are %q and %q", cut(string(root), 40), sdk.RootContext, sdk.RootStage)
	case o.Kind != sdk.KindInstruction:
		return nil, fault(sdk.CodeUnsupported, "a plugin of the kind %q reads no files of the build", o.Kind)
	case !o.Grants.reads(root):
		return nil, fault(sdk.CodeDenied, "the files of %q are not granted to plugin %q: add %q to plugins.%s.allow.files",
			root, o.Plugin, root, o.Plugin)
	case files == nil:
		return nil, fault(sdk.CodeUnsupported, "there are no files in this call: they can be read while an instruction is planned")
	}
	return files, nil
}

// ReadFile implements [sdk.FileSystem].
func (f fileService) ReadFile(ctx context.Context, root sdk.Root, name string) ([]byte, error) {
	files, err := f.files(ctx, root)
	if err != nil {
		return nil, f.s.safe(err)
	}
	content, err := files.ReadFile(ctx, root, name)
	return content, f.s.safe(err)
}

// Stat implements [sdk.FileSystem].
func (f fileService) Stat(ctx context.Context, root sdk.Root, name string) (sdk.FileInfo, error) {
	files, err := f.files(ctx, root)
	if err != nil {
		return sdk.FileInfo{}, f.s.safe(err)
	}
	info, err := files.Stat(ctx, root, name)
	return info, f.s.safe(err)
}

// ReadDir implements [sdk.FileSystem].
func (f fileService) ReadDir(ctx context.Context, root sdk.Root, name string) ([]sdk.FileInfo, error) {
	files, err := f.files(ctx, root)
	if err != nil {
		return nil, f.s.safe(err)
	}
	entries, err := files.ReadDir(ctx, root, name)
	return entries, f.s.safe(err)
}
