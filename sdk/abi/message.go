package abi

import "github.com/trowel-build/trowel/sdk"

// Empty is a message without fields.
type Empty struct{}

// HelloRequest is the first message: who the host is, and what the user configured.
type HelloRequest struct {
	ABI      int      `json:"abi"`
	Host     string   `json:"host"` // such as "trowel 1.0.0"
	Name     string   `json:"name"` // of the plugin in the user's trowel.toml
	Kind     sdk.Kind `json:"kind"` // what it is used as
	Features []string `json:"features,omitempty"`
	// Config is the table [plugins.NAME.config].
	Config map[string]any `json:"config,omitempty"`
}

// HelloResponse says what a plugin is and can do.
type HelloResponse struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	SDK     string `json:"sdk,omitempty"` // such as "go 1"
	// Features are what it has beyond the interfaces of its kind: see the constants.
	Features []string   `json:"features,omitempty"`
	Kinds    []sdk.Kind `json:"kinds"`
}

// The features that a plugin can have.
const (
	FeatureBlobWriter    = "blob-writer"    // OpPutBlob
	FeatureUploadPlanner = "upload-planner" // OpPlanPut, OpFinishPut
)

// GetRecordsRequest asks for records.
type GetRecordsRequest struct {
	Keys []sdk.Key `json:"keys"`
}

// GetRecordsResponse has those that there are.
type GetRecordsResponse struct {
	Records []sdk.Record `json:"records,omitempty"`
}

// PutRecordsRequest gives records to keep.
type PutRecordsRequest struct {
	Records []sdk.Record `json:"records"`
}

// StatBlobsRequest asks which blobs there are.
type StatBlobsRequest struct {
	Digests []sdk.Digest `json:"digests"`
}

// StatBlobsResponse has those that there are.
type StatBlobsResponse struct {
	Blobs []sdk.Blob `json:"blobs,omitempty"`
}

// GetBlobRequest asks for a blob.
type GetBlobRequest struct {
	Digest sdk.Digest `json:"digest"`
	// Sink is the stream that takes the bytes, if the plugin would rather write them than give a transfer.
	Sink uint32 `json:"sink"`
}

// GetBlobResponse has one of a transfer, the path of a file (from processes alone), or neither: then the bytes were
// written to the sink.
type GetBlobResponse struct {
	Transfer *sdk.Transfer `json:"transfer,omitempty"`
	File     string        `json:"file,omitempty"`
	Streamed int64         `json:"streamed,omitempty"` // bytes
}

// PutBlobRequest gives a blob to keep.
type PutBlobRequest struct {
	Blob   sdk.Blob `json:"blob"`
	Source uint32   `json:"source"` // the stream of its bytes
}

// PlanPutRequest asks how a blob is to be uploaded.
type PlanPutRequest struct {
	Blob sdk.Blob `json:"blob"`
}

// PlanPutResponse says how.
type PlanPutResponse struct {
	Transfer sdk.Transfer `json:"transfer"`
}

// FinishPutRequest says that an upload's parts were sent.
type FinishPutRequest struct {
	Blob sdk.Blob           `json:"blob"`
	Done sdk.TransferResult `json:"done"`
}

// DescribeResponse has the instructions of a handler.
type DescribeResponse struct {
	Instructions []sdk.Instruction `json:"instructions"`
}

// HTTPRequests are requests to be made at once.
type HTTPRequests struct {
	Requests []sdk.HTTPRequest `json:"requests"`
}

// HTTPResponses are their answers, in order.
type HTTPResponses struct {
	Responses []sdk.HTTPResponse `json:"responses"`
}

// EnvRequest asks for environment variables.
type EnvRequest struct {
	Names []string `json:"names"`
}

// EnvResponse has those that are set.
type EnvResponse struct {
	Variables []sdk.Variable `json:"variables,omitempty"`
}

// FileRequest names a file of the build.
type FileRequest struct {
	Root sdk.Root `json:"root"`
	Name string   `json:"name"`
}

// ReadFileResponse is a file's content.
type ReadFileResponse struct {
	Content []byte `json:"content,omitempty"`
}

// StatResponse describes a file.
type StatResponse struct {
	Info sdk.FileInfo `json:"info"`
}

// ReadDirResponse lists a directory.
type ReadDirResponse struct {
	Entries []sdk.FileInfo `json:"entries,omitempty"`
}
