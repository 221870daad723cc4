package plugintest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

const maxBody = 4 << 20

// HTTP implements [sdk.HTTPClient].
func (h *Host) HTTP(ctx context.Context, requests []sdk.HTTPRequest) ([]sdk.HTTPResponse, error) {
	out := make([]sdk.HTTPResponse, len(requests))
	var wg sync.WaitGroup
	for i, r := range requests {
		wg.Go(func() {
			answer, err := h.do(ctx, r)
			if err != nil {
				answer = sdk.HTTPResponse{Error: sdk.AsError(err)}
			}
			out[i] = answer
		})
	}
	wg.Wait()
	return out, ctx.Err()
}

func (h *Host) do(ctx context.Context, r sdk.HTTPRequest) (_ sdk.HTTPResponse, err error) {
	if r.TimeoutMillis > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(r.TimeoutMillis)*time.Millisecond)
		defer cancel()
	}
	if r.Sign != nil {
		if r, err = h.signed(ctx, r); err != nil {
			return sdk.HTTPResponse{}, err
		}
	}
	response, err := h.send(ctx, r.Method, r.URL, r.Header, bytes.NewReader(r.Body), r.Redirect)
	if err != nil {
		return sdk.HTTPResponse{}, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	limit := int64(maxBody)
	if 0 < r.MaxBytes && r.MaxBytes < limit {
		limit = r.MaxBytes
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case err != nil:
		return sdk.HTTPResponse{}, unavailable(err)
	case int64(len(body)) > limit:
		return sdk.HTTPResponse{}, &sdk.Error{Code: sdk.CodeLimit, Message: fmt.Sprintf("the answer is larger than %d bytes", limit)}
	}
	return sdk.HTTPResponse{Status: response.StatusCode, Header: wanted(headerOf(response.Header), r.WantHeader), Body: body}, nil
}

// wanted are the fields that a request asked for.
func wanted(header []sdk.Header, names []string) []sdk.Header {
	if len(names) == 0 {
		return header
	}
	return slices.DeleteFunc(header, func(h sdk.Header) bool {
		return !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, h.Name) })
	})
}

// signed is a request with its signature.
func (h *Host) signed(ctx context.Context, r sdk.HTTPRequest) (sdk.HTTPRequest, error) {
	request := *r.Sign
	if request.Method != sdk.SignAWS4 || request.AWS == nil {
		return r, invalid("sign a request: only %s signs requests", sdk.SignAWS4)
	}
	aws := *request.AWS
	aws.HTTPMethod, aws.URL, aws.Header = r.Method, r.URL, r.Header
	if aws.PayloadHash == "" && aws.PresignSeconds == 0 {
		sum := sha256.Sum256(r.Body)
		aws.PayloadHash = hex.EncodeToString(sum[:])
	}
	request.AWS = &aws
	signature, err := h.Sign(ctx, request)
	if err != nil {
		return r, err
	}
	if signature.URL != "" {
		r.URL = signature.URL
	}
	r.Header = slices.Concat(r.Header, signature.Header)
	return r, nil
}

// send makes a request and follows redirects as policy says.
func (h *Host) send(ctx context.Context, method, address string, header []sdk.Header, body io.Reader, policy sdk.RedirectPolicy,
) (*http.Response, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, invalid("the URL of a request is not one")
	}
	if u.User != nil {
		name := u.User.Username()
		password, _ := u.User.Password()
		if name, err = h.fillIn(name, "header"); err == nil {
			password, err = h.fillIn(password, "header")
		}
		if err != nil {
			return nil, err
		}
		u.User = url.UserPassword(name, password)
	}
	request, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, invalid("make a request: %v", err)
	}
	for _, f := range header {
		value, err := h.fillIn(f.Value, "header")
		if err != nil {
			return nil, err
		}
		if http.CanonicalHeaderKey(f.Name) == "Host" {
			request.Host = value
			continue
		}
		request.Header.Add(f.Name, value)
	}
	client := *http.DefaultClient
	if h.Client != nil {
		client = *h.Client
	}
	client.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		if policy == sdk.RedirectNone || len(via) >= 10 || policy == sdk.RedirectSameHost && next.URL.Host != u.Host {
			return &sdk.Error{Code: sdk.CodeDenied, Message: fmt.Sprintf("a redirect to %q is not to be followed", next.URL.Host)}
		}
		return nil
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, unavailable(err)
	}
	return response, nil
}

// unavailable is an error of the network, or the one with a code that it wraps.
func unavailable(err error) error {
	if coded, ok := errors.AsType[*sdk.Error](err); ok {
		return coded
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &sdk.Error{Code: sdk.CodeUnavailable, Message: err.Error(), Retryable: true}
}

func headerOf(header http.Header) []sdk.Header {
	var out []sdk.Header
	for name, values := range header {
		for _, value := range values {
			out = append(out, sdk.Header{Name: name, Value: value})
		}
	}
	slices.SortStableFunc(out, func(a, b sdk.Header) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return out
}

// Upload sends the parts of a transfer, one after the other, as the host does for a blob that [sdk.UploadPlanner] planned.
func (h *Host) Upload(ctx context.Context, transfer sdk.Transfer, content []byte) (sdk.TransferResult, error) {
	result := sdk.TransferResult{Token: transfer.Token}
	var at int64
	for i, part := range transfer.Parts {
		length := part.Length
		if length == 0 {
			length = int64(len(content)) - part.Offset
		}
		if part.Offset != at || length < 0 || length > int64(len(content))-at {
			return sdk.TransferResult{}, fmt.Errorf("part %d of the transfer does not go on where the one before ends", i+1)
		}
		at += length
		response, err := h.move(ctx, transfer, part, content[part.Offset:at])
		if err != nil {
			return sdk.TransferResult{}, fmt.Errorf("part %d: %w", i+1, err)
		}
		_, err = io.Copy(io.Discard, response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			return sdk.TransferResult{}, unavailable(err)
		}
		result.Parts = append(result.Parts, sdk.PartResult{Status: response.StatusCode, Header: headerOf(response.Header)})
	}
	if at != int64(len(content)) {
		return sdk.TransferResult{}, fmt.Errorf("the transfer's parts cover %d of %d bytes", at, len(content))
	}
	return result, nil
}

// Download gets the blob of a transfer, as the host does where a cache answers [sdk.BlobReader] with one. The caller closes
// what it gets.
func (h *Host) Download(ctx context.Context, transfer sdk.Transfer) (io.ReadCloser, error) {
	if len(transfer.Parts) != 1 {
		return nil, fmt.Errorf("a transfer to get a blob has %d parts, want 1", len(transfer.Parts))
	}
	response, err := h.move(ctx, transfer, transfer.Parts[0], nil)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

func (h *Host) move(ctx context.Context, transfer sdk.Transfer, part sdk.TransferPart, content []byte) (*http.Response, error) {
	response, err := h.send(ctx, part.Method, part.URL, part.Header, bytes.NewReader(content), transfer.Redirect)
	if err != nil {
		return nil, err
	}
	ok := slices.Contains(part.Expect, response.StatusCode)
	if len(part.Expect) == 0 {
		ok = response.StatusCode/100 == 2
	}
	if !ok {
		err := fmt.Errorf("%s answers %s", part.Method, response.Status)
		return nil, errors.Join(err, response.Body.Close())
	}
	return response, nil
}
