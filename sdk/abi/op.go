package abi

// Version is the major version of the ABI. A Wasm module says which it speaks by exporting a function of the name
// trowel_abi_1; a process by the protocol version of its handshake.
const Version = 1

// Op is an operation that the host asks of a plugin.
type Op uint32

// The operations of plugins. A number is never used again for anything else.
const (
	OpHello Op = 1 // HelloRequest → HelloResponse

	OpGetRecords Op = 10 // GetRecordsRequest → GetRecordsResponse
	OpPutRecords Op = 11 // PutRecordsRequest → Empty
	OpStatBlobs  Op = 12 // StatBlobsRequest → StatBlobsResponse
	OpGetBlob    Op = 13 // GetBlobRequest → GetBlobResponse
	OpPutBlob    Op = 14 // PutBlobRequest → Empty
	OpPlanPut    Op = 15 // PlanPutRequest → PlanPutResponse
	OpFinishPut  Op = 16 // FinishPutRequest → Empty

	OpCredential Op = 20 // sdk.CredentialRequest → sdk.Credential

	OpDescribe Op = 30 // Empty → DescribeResponse
	OpPlan     Op = 31 // sdk.Call → sdk.Plan
)

// HostOp is an operation that a plugin asks of the host while it answers a call.
type HostOp uint32

// The operations of the host.
const (
	HostHTTP     HostOp = 1 // HTTPRequests → HTTPResponses
	HostSign     HostOp = 2 // sdk.SignRequest → sdk.SignResponse
	HostEnv      HostOp = 3 // EnvRequest → EnvResponse
	HostReadFile HostOp = 4 // FileRequest → ReadFileResponse
	HostStat     HostOp = 5 // FileRequest → StatResponse
	HostReadDir  HostOp = 6 // FileRequest → ReadDirResponse
)

// The most that crosses between host and plugin in one piece. What is larger goes through streams or transfers.
const (
	MaxRequest  = 16 << 20
	MaxResponse = 16 << 20
	MaxLog      = 4 << 10 // bytes of one message
)
