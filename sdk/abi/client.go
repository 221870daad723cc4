package abi

import (
	"context"
	"slices"
	"strconv"

	"github.com/trowel-build/trowel/sdk"
)

// Client is the host's end: it turns calls of the sdk interfaces into operations. It is safe for concurrent use, and
// believes nothing that it can check: an answer that breaks the contract is an error of the code invalid.
type Client struct{ conn Conn }

// NewClient makes the end of a connection.
func NewClient(conn Conn) *Client { return &Client{conn} }

// Hello performs the first operation. Transports that perform it themselves read its answer with [ReadHello].
func (c *Client) Hello(ctx context.Context, request HelloRequest) (HelloResponse, error) {
	if err := CheckConfig(request.Config); err != nil {
		return HelloResponse{}, err
	}
	message, err := c.roundTrip(ctx, OpHello, AppendHelloRequest(nil, &request), nil)
	if err != nil {
		return HelloResponse{}, err
	}
	return readHello(message, request.Kind)
}

// ReadHello opens the envelope of a plugin's answer to OpHello, which was asked to be of the kind.
func ReadHello(envelope []byte, kind sdk.Kind) (HelloResponse, error) {
	message, err := Result(envelope)
	if err != nil {
		return HelloResponse{}, err
	}
	return readHello(message, kind)
}

func readHello(message []byte, kind sdk.Kind) (HelloResponse, error) {
	var answer HelloResponse
	if err := DecodeHelloResponse(message, &answer); err != nil {
		return HelloResponse{}, err
	}
	if !slices.Contains(answer.Kinds, kind) {
		return HelloResponse{}, misbehaved("is not of kind " + string(kind))
	}
	return answer, nil
}

// Cache is the plugin as a cache.
func (c *Client) Cache() *RemoteCache { return &RemoteCache{c} }

// Credential is the plugin as a credential provider.
func (c *Client) Credential() *RemoteCredential { return &RemoteCredential{c} }

// Instruction is the plugin as an instruction handler.
func (c *Client) Instruction() *RemoteInstruction { return &RemoteInstruction{c} }

// roundTrip performs an operation and returns the message of the answer.
func (c *Client) roundTrip(ctx context.Context, op Op, request []byte, streams Streams) ([]byte, error) {
	if len(request) > MaxRequest {
		return nil, tooLarge(len(request))
	}
	envelope, err := c.conn.Call(ctx, op, request, streams)
	if err != nil {
		return nil, withCause(ctx, err)
	}
	if len(envelope) > MaxResponse {
		return nil, &sdk.Error{Code: sdk.CodeLimit, Message: "the plugin's answer has " + strconv.Itoa(len(envelope)) + " bytes"}
	}
	message, err := Result(envelope)
	return message, withCause(ctx, err)
}

// call performs an operation with messages of their types.
func call[Q, A any](ctx context.Context, c *Client, op Op, encode func([]byte, *Q) []byte, request *Q, decode func([]byte, *A) error) (A, error) {
	var answer A
	message, err := c.roundTrip(ctx, op, encode(nil, request), nil)
	if err == nil {
		err = decode(message, &answer)
	}
	if err != nil {
		var none A
		return none, err
	}
	return answer, nil
}

// RemoteCredential is a plugin as an [sdk.CredentialProvider].
type RemoteCredential struct{ c *Client }

// Credential implements [sdk.CredentialProvider]. The credential's secret is as the plugin wrote it.
func (r *RemoteCredential) Credential(ctx context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	answer, err := call(ctx, r.c, OpCredential, AppendCredentialRequest, &request, DecodeCredential)
	if err != nil {
		return sdk.Credential{}, err
	}
	switch answer.Kind {
	case sdk.KindBasic, sdk.KindBearer, sdk.KindIdentity, sdk.KindAnonymous:
	default:
		return sdk.Credential{}, misbehaved("answered a credential of the unknown kind " + strconv.Quote(string(answer.Kind)))
	}
	switch answer.Scope {
	case "", sdk.ScopeRegistry, sdk.ScopeRepository:
	default:
		return sdk.Credential{}, misbehaved("answered a credential of the unknown scope " + strconv.Quote(string(answer.Scope)))
	}
	return answer, nil
}

// RemoteInstruction is a plugin as an [sdk.InstructionHandler].
type RemoteInstruction struct{ c *Client }

// Describe implements [sdk.InstructionHandler].
func (r *RemoteInstruction) Describe(ctx context.Context) ([]sdk.Instruction, error) {
	answer, err := call(ctx, r.c, OpDescribe, AppendEmpty, &Empty{}, DecodeDescribeResponse)
	return answer.Instructions, err
}

// Plan implements [sdk.InstructionHandler].
func (r *RemoteInstruction) Plan(ctx context.Context, request sdk.Call) (sdk.Plan, error) {
	plan, err := call(ctx, r.c, OpPlan, AppendCall, &request, DecodePlan)
	if err != nil {
		return sdk.Plan{}, err
	}
	for i := range plan.Effects {
		if n := fieldsSet(&plan.Effects[i]); n != 1 {
			return sdk.Plan{}, misbehaved("answered an effect (number " + strconv.Itoa(i+1) + ") with " + strconv.Itoa(n) +
				" fields that this version knows, and not one")
		}
	}
	return plan, nil
}

func fieldsSet(e *sdk.Effect) int {
	n := 0
	for _, set := range []bool{e.Exec != nil, e.Copy != nil, e.Write != nil, e.Mkdir != nil, e.Symlink != nil, e.Remove != nil, e.Set != nil} {
		if set {
			n++
		}
	}
	return n
}

var (
	_ sdk.CredentialProvider = (*RemoteCredential)(nil)
	_ sdk.InstructionHandler = (*RemoteInstruction)(nil)
)
