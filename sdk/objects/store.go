package objects

import (
	"context"
	"strconv"

	"github.com/trowel-build/trowel/sdk"
)

// maxRecord is the most bytes that a record may have.
const maxRecord = 1 << 20

// Store is a cache in which each record and each blob is an object of its own. The server must show an object whole or not
// at all.
type Store struct {
	// Request is the request that reaches an object, by "GET", "HEAD" or "PUT". The method and the body are filled in. A
	// request with Sign is signed; one that moves a blob gets a URL that is.
	Request func(method, object string) sdk.HTTPRequest
	// Fault is the error of an answer that is no success, and nil if the answer is that there is no such object. A Store
	// without one has [Fault].
	Fault func(doing string, answer sdk.HTTPResponse) error
}

// GetRecords asks for all records at once.
func (s Store) GetRecords(ctx context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	var records []sdk.Record
	err := each(ctx, s, "GET", unique(keys, recordName), func(key sdk.Key, answer sdk.HTTPResponse) error {
		records = append(records, sdk.Record{Key: key, Value: answer.Body})
		return nil
	})
	return records, err
}

// PutRecords stores all records at once. Of two under one key the later counts.
func (s Store) PutRecords(ctx context.Context, records []sdk.Record) error {
	place := map[sdk.Key]int{}
	var requests []sdk.HTTPRequest
	for _, r := range records {
		name, ok := recordName(r.Key)
		if !ok {
			return invalid("put record: " + quote(string(r.Key)) + " is no key")
		}
		if len(r.Value) > maxRecord {
			return &sdk.Error{Code: sdk.CodeLimit, Message: "put record " + quote(string(r.Key)) + ": it has " +
				strconv.Itoa(len(r.Value)) + " bytes, and may have 1 MiB"}
		}
		request := s.request("PUT", name)
		request.Body = r.Value
		if i, twice := place[r.Key]; twice {
			requests[i] = request // requests have no order
			continue
		}
		place[r.Key] = len(requests)
		requests = append(requests, request)
	}
	answers, err := Send(ctx, requests...)
	if err != nil {
		return err
	}
	for _, answer := range answers {
		if err := s.judge("put record", answer); err != nil {
			return err
		}
	}
	return nil
}

// StatBlobs asks for all blobs at once.
func (s Store) StatBlobs(ctx context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	var blobs []sdk.Blob
	err := each(ctx, s, "HEAD", unique(digests, BlobName), func(digest sdk.Digest, answer sdk.HTTPResponse) error {
		size, err := strconv.ParseInt(answer.Get("Content-Length"), 10, 64)
		if err != nil || size < 0 {
			return &sdk.Error{Code: sdk.CodeInternal, Message: "look up blob " + quote(string(digest)) + ": the server does not say its length"}
		}
		blobs = append(blobs, sdk.Blob{Digest: digest, Size: size})
		return nil
	})
	return blobs, err
}

// GetBlob plans a download, in ranges at once if the host likes.
func (s Store) GetBlob(ctx context.Context, digest sdk.Digest) (sdk.Content, error) {
	name, ok := BlobName(digest)
	if !ok {
		return sdk.Content{}, noDigest(digest)
	}
	held, err := s.StatBlobs(ctx, []sdk.Digest{digest})
	if err != nil {
		return sdk.Content{}, err
	}
	if len(held) == 0 {
		return sdk.Content{}, &sdk.Error{Code: sdk.CodeNotFound, Message: "get blob " + quote(string(digest)) + ": not found"}
	}
	plan, err := Transfer(ctx, s.request("GET", name))
	if err != nil {
		return sdk.Content{}, err
	}
	plan.Ranges, plan.Parts[0].Length = true, held[0].Size
	return sdk.Content{Transfer: &plan}, nil
}

// mostUnasked is how many bytes are sent without asking whether they are there: to ask would take as long, and sending
// mends what is damaged.
const mostUnasked = 1 << 20

// PlanPut plans an upload in one request, unless the blob is there.
func (s Store) PlanPut(ctx context.Context, blob sdk.Blob) (sdk.Transfer, error) {
	name, ok := BlobName(blob.Digest)
	if !ok {
		return sdk.Transfer{}, noDigest(blob.Digest)
	}
	if blob.Size < 0 {
		return sdk.Transfer{}, invalid("put blob " + quote(string(blob.Digest)) + ": it cannot have " + strconv.FormatInt(blob.Size, 10) + " bytes")
	}
	if blob.Size > mostUnasked {
		held, err := s.StatBlobs(ctx, []sdk.Digest{blob.Digest})
		if err != nil || len(held) == 1 && held[0] == blob {
			return sdk.Transfer{}, err
		}
	}
	return Transfer(ctx, s.request("PUT", name))
}

// FinishPut has nothing to do: the server shows an object when it has all of it.
func (s Store) FinishPut(context.Context, sdk.Blob, sdk.TransferResult) error { return nil }

// request is the author's, made whole.
func (s Store) request(method, object string) sdk.HTTPRequest {
	r := s.Request(method, object)
	r.Method = method
	if method == "GET" {
		r.MaxBytes = maxRecord
	}
	if r.WantHeader == nil {
		r.WantHeader = []string{"Content-Length"}
	}
	return r
}

// judge is the error of an answer that has to be success.
func (s Store) judge(doing string, answer sdk.HTTPResponse) error {
	if success(answer) {
		return nil
	}
	if err := s.fault(doing, answer); err != nil {
		return err
	}
	return invalid(doing + ": the server has no place for it: is the address right?")
}

func (s Store) fault(doing string, answer sdk.HTTPResponse) error {
	if s.Fault != nil {
		return s.Fault(doing, answer)
	}
	return Fault(doing, answer)
}

// each asks for objects and does something with the answers of those that are there.
func each[T ~string](ctx context.Context, s Store, method string, asked []named[T], do func(T, sdk.HTTPResponse) error) error {
	requests := make([]sdk.HTTPRequest, len(asked))
	for i, a := range asked {
		requests[i] = s.request(method, a.object)
	}
	answers, err := Send(ctx, requests...)
	if err != nil {
		return err
	}
	for i, answer := range answers {
		what := asked[i].item
		switch {
		case success(answer):
			err = do(what, answer)
		case method == "GET" && answer.Error != nil && answer.Error.Code == sdk.CodeLimit:
			sdk.Log(ctx, sdk.LevelWarning, "record "+string(what)+" is larger than a record can be, and not believed")
		default:
			err = s.fault("look up "+quote(string(what)), answer)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func success(answer sdk.HTTPResponse) bool {
	return answer.Error == nil && answer.Status >= 200 && answer.Status <= 299
}

// Fault is the error of an answer that is no success. It is nil for 404: whatever else is unexpected must not pass for a
// miss.
func Fault(doing string, answer sdk.HTTPResponse) error {
	if answer.Error != nil {
		e := *answer.Error
		e.Message = doing + ": " + answer.Error.Error()
		return &e
	}
	e := &sdk.Error{Code: sdk.CodeInternal, Message: doing + ": the server answered " + strconv.Itoa(answer.Status)}
	switch {
	case answer.Status == 404:
		return nil
	case answer.Status == 401, answer.Status == 403:
		e.Code = sdk.CodeUnauthorized
	case Passing(answer):
		e.Code, e.Retryable = sdk.CodeUnavailable, true
	}
	return e
}

func invalid(message string) error { return &sdk.Error{Code: sdk.CodeInvalid, Message: message} }

func noDigest(digest sdk.Digest) error {
	return invalid(quote(string(digest)) + " is no SHA-256 digest")
}

var (
	_ sdk.CacheReader   = Store{}
	_ sdk.UploadPlanner = Store{}
)
