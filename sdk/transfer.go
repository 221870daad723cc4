package sdk

import (
	"context"
	"time"
)

// UploadPlanner is the ability of a cache to say how a blob is uploaded instead of taking its bytes. The host moves them
// at full speed, with retries; what the plugin says is small. The host calls PlanPut instead of PutBlob where a cache
// has both.
type UploadPlanner interface {
	// PlanPut says how the blob is uploaded. A transfer without parts means that the cache holds the blob.
	PlanPut(ctx context.Context, blob Blob) (Transfer, error)
	// FinishPut is called when all parts of a PlanPut were sent, and makes the blob visible, whole or not at all. It
	// is not called for a transfer without parts, nor when a part failed for good: the backend forgets such uploads.
	FinishPut(ctx context.Context, blob Blob, done TransferResult) error
}

// Transfer is HTTP requests that the host makes to move one blob. The hosts they go to must be among those that the user
// granted. A status of 401 or 403, or Expires having passed, makes the host ask for a new transfer, once.
type Transfer struct {
	// Parts cover the blob without gaps, in order. To get a blob there is one part.
	Parts []TransferPart `json:"parts,omitempty"`
	// Expires is when the requests stop being valid; zero means that they do not, or that it is not known.
	Expires time.Time `json:"expires,omitzero"`
	// Ranges says whether the host may split a GET into requests with a Range header, to run them at once and to resume.
	Ranges bool `json:"ranges,omitempty"`
	// Redirect says what redirects the host follows.
	Redirect RedirectPolicy `json:"redirect,omitempty"`
	// Token is given back with FinishPut: the name of a multipart upload, say.
	Token string `json:"token,omitempty"`
}

// TransferPart is one request of a [Transfer]. {{secret:NAME}} in a header's value or in the URL's user information stands for
// a secret that was granted with the use "header". What [Sign] returned may hold marks for secrets that mean something to the
// host alone. A redirect to another host takes no header with it that could hold a secret.
type TransferPart struct {
	Method string   `json:"method"` // "GET", "PUT" or "POST"
	URL    string   `json:"url"`
	Header []Header `json:"header,omitempty"`
	// Offset and Length say which bytes of the blob the request carries. A Length of 0 means up to its end.
	Offset int64 `json:"offset,omitempty"`
	Length int64 `json:"length,omitempty"`
	// Expect are the statuses that mean success; empty means 200 to 299.
	Expect []int `json:"expect,omitempty"`
}

// RedirectPolicy says what redirects are followed. Those to hosts that the user did not grant never are.
type RedirectPolicy string

// The policies for redirects.
const (
	RedirectNone     RedirectPolicy = ""          // a redirect is an error
	RedirectSameHost RedirectPolicy = "same-host" // to the host and port of the request
	RedirectGranted  RedirectPolicy = "granted"   // to any host that the user granted
)

// TransferResult is what became of an upload.
type TransferResult struct {
	Token string       `json:"token,omitempty"`
	Parts []PartResult `json:"parts,omitempty"` // in the order of the transfer's
}

// PartResult is the answer to one request of an upload.
type PartResult struct {
	Status int      `json:"status"`
	Header []Header `json:"header,omitempty"` // the answer's, such as ETag
}

// Header is one header field of a request or an answer.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}
