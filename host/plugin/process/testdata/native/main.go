// Program native is a plugin written with go-plugin, gRPC and protobuf, and without anything of Trowel's: what
// sdk/process/trowel.proto says is all it knows. Its messages are made at run time, so that nothing need be generated here.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

func main() {
	frame, err := frameType()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: goplugin.HandshakeConfig{
			ProtocolVersion: 1, MagicCookieKey: "TROWEL_PLUGIN", MagicCookieValue: "5f1c7a70-trowel-plugin-v1",
		},
		Plugins:    goplugin.PluginSet{"trowel": &plugin{frame: frame}},
		GRPCServer: goplugin.DefaultGRPCServer,
	})
}

type plugin struct {
	goplugin.NetRPCUnsupportedPlugin
	frame protoreflect.MessageDescriptor
}

func (p *plugin) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "trowel.v1.Plugin",
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: "Session", ClientStreams: true, ServerStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return p.session(stream) },
		}},
	}, p)
	return nil
}

func (p *plugin) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("this is the plugin's side")
}

// session answers each call with its request; one with a stream 1 to read, with what that held.
func (p *plugin) session(stream grpc.ServerStream) error {
	for {
		in := dynamicpb.NewMessage(p.frame)
		if err := stream.RecvMsg(in); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		out := dynamicpb.NewMessage(p.frame)
		set(out, "call", get(in, "call"))
		switch kind := get(in, "kind").Enum(); {
		case kind == 1 && get(in, "op").Uint() == 1: // CALL of Hello
			set(out, "kind", protoreflect.ValueOfEnum(2)) // ANSWER
			set(out, "body", protoreflect.ValueOfBytes([]byte(`{"ok":{"name":"native"}}`)))
		case kind == 1:
			set(out, "kind", protoreflect.ValueOfEnum(3)) // HOST_CALL
			set(out, "id", protoreflect.ValueOfUint32(300))
			set(out, "op", protoreflect.ValueOfUint32(3))
			set(out, "body", get(in, "body"))
		case kind == 4: // HOST_ANSWER
			set(out, "kind", protoreflect.ValueOfEnum(2))
			set(out, "body", get(in, "body"))
		default:
			continue
		}
		if err := stream.SendMsg(out); err != nil {
			return err
		}
	}
}

func get(m *dynamicpb.Message, name protoreflect.Name) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(name))
}

func set(m *dynamicpb.Message, name protoreflect.Name, v protoreflect.Value) {
	m.Set(m.Descriptor().Fields().ByName(name), v)
}

// frameType is the message Frame.
func frameType() (protoreflect.MessageDescriptor, error) {
	field := func(number int32, name string, kind descriptorpb.FieldDescriptorProto_Type) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{
			Name: &name, Number: &number, Type: &kind, Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
	}
	kind := field(1, "kind", descriptorpb.FieldDescriptorProto_TYPE_ENUM)
	kind.TypeName = proto.String(".trowel.v1.Kind")
	var kinds []*descriptorpb.EnumValueDescriptorProto
	for i, name := range []string{"NONE", "CALL", "ANSWER", "HOST_CALL", "HOST_ANSWER", "LOG", "DATA", "END", "WINDOW", "CANCEL"} {
		kinds = append(kinds, &descriptorpb.EnumValueDescriptorProto{Name: &name, Number: proto.Int32(int32(i))})
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("trowel.proto"), Package: proto.String("trowel.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: proto.String("Frame"),
			Field: []*descriptorpb.FieldDescriptorProto{
				kind,
				field(2, "call", descriptorpb.FieldDescriptorProto_TYPE_UINT32),
				field(3, "id", descriptorpb.FieldDescriptorProto_TYPE_UINT32),
				field(4, "op", descriptorpb.FieldDescriptorProto_TYPE_UINT32),
				field(5, "window", descriptorpb.FieldDescriptorProto_TYPE_UINT32),
				field(6, "body", descriptorpb.FieldDescriptorProto_TYPE_BYTES),
			},
		}},
		EnumType: []*descriptorpb.EnumDescriptorProto{{Name: proto.String("Kind"), Value: kinds}},
	}, new(protoregistry.Files))
	if err != nil {
		return nil, err
	}
	return file.Messages().ByName("Frame"), nil
}
