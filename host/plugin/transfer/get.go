package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/sdk"
)

// Get opens a blob. The reader gives its bytes in order while ranges of them are fetched ahead, and ends with an error
// wrapping [ErrMismatch] instead of [io.EOF] if they are not the blob's. ctx holds until the reader is closed. The size of
// the blob may be negative: not known. A blob that the server does not have is an error wrapping [sdk.ErrNotFound].
func (e *Engine) Get(ctx context.Context, blob sdk.Blob, plan sdk.Transfer, replan Replan) (io.ReadCloser, error) {
	r, err := e.get(ctx, blob, plan, replan)
	if err != nil {
		return nil, fmt.Errorf("get blob %q: %w", abbreviate(string(blob.Digest)), err)
	}
	return r, nil
}

func (e *Engine) get(ctx context.Context, blob sdk.Blob, plan sdk.Transfer, replan Replan) (*reader, error) {
	verify, err := newVerifier(blob)
	if err != nil {
		return nil, err
	}
	if err := checkGet(plan, blob.Size); err != nil {
		return nil, err
	}
	if blob.Size < 0 && plan.Parts[0].Length > 0 {
		blob.Size = plan.Parts[0].Length
		verify.blob.Size = blob.Size
	}
	d := &download{engine: e, size: blob.Size, lease: &lease{plan: plan, replan: replan}}
	d.lease.check = func(plan sdk.Transfer) error { return checkGet(plan, blob.Size) }
	return newReader(ctx, d, verify)
}

// download is a blob that is being got: what all its requests have in common.
type download struct {
	engine *Engine
	lease  *lease

	// The first answer settles these, before there is a second request.
	size    int64 // negative: not known
	version string
}

// answer is a body of bytes of the blob.
type answer struct {
	body     io.ReadCloser
	deadline *deadline
	from     int64 // where its first byte belongs
	to       int64 // where its end does; negative: not known
	size     int64 // of the blob; negative: not known
	version  string
}

func (a *answer) Read(p []byte) (int, error) {
	a.deadline.start()
	defer a.deadline.stop()
	return a.body.Read(p)
}

func (a *answer) Close() {
	a.deadline.cancel()
	_ = a.body.Close() // what was only read has nothing to lose
}

// open asks once for the bytes from one offset to another; a negative one means the end of the blob. If the plan was
// refused it asks the plugin for another, and then once more.
func (d *download) open(ctx context.Context, from, to int64) (*answer, error) {
	for {
		plan, number, err := d.lease.current(ctx)
		if err != nil {
			return nil, err
		}
		a, err := d.ask(ctx, plan, from, to)
		if r, ok := errors.AsType[*refusal](err); ok && r.unauthorized() {
			if err := d.lease.renew(ctx, number, r); err != nil {
				return nil, err
			}
			continue
		}
		if err == nil {
			d.lease.success(number)
		}
		return a, err
	}
}

// ask makes one request.
func (d *download) ask(parent context.Context, plan sdk.Transfer, from, to int64) (*answer, error) {
	ctx, limit := newDeadline(parent, d.engine.Stall)
	part := plan.Parts[0]
	request, err := newRequest(ctx, part)
	if err != nil {
		limit.cancel()
		return nil, err
	}
	if request.Header.Get("Accept-Encoding") == "" {
		request.Header.Set("Accept-Encoding", "identity") // else the client would unpack what the server packed
	}
	ranged := plan.Ranges && (from > 0 || to >= 0)
	if ranged {
		request.Header.Set("Range", rangeField(from, to))
		if strings.HasPrefix(d.version, `"`) { // only a strong ETag will do
			request.Header.Set("If-Range", d.version)
		}
	}
	response, err := d.engine.Send(ctx, request, plan.Redirect)
	if err != nil {
		err = fmt.Errorf("%s: %w", where(part), plain(ctx, err))
		limit.cancel()
		return nil, err
	}
	limit.stop()
	a := &answer{body: response.Body, deadline: limit, size: unknownSize, version: version(response.Header)}
	if err := d.judge(a, part, response, from, ranged); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

func rangeField(from, to int64) string {
	field := "bytes=" + strconv.FormatInt(from, 10) + "-"
	if to >= 0 {
		field += strconv.FormatInt(to-1, 10)
	}
	return field
}

// judge decides what an answer is.
func (d *download) judge(a *answer, part sdk.TransferPart, response *http.Response, from int64, ranged bool) error {
	switch {
	case ranged && response.StatusCode == http.StatusPartialContent:
		if err := a.readRange(response.Header.Get("Content-Range"), from); err != nil {
			return fmt.Errorf("%s: %w", where(part), err)
		}
		if d.size < 0 && a.size < 0 {
			return fmt.Errorf("%s: the server gives a range and does not say of how many bytes", where(part))
		}
	case ranged && from == 0 && response.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		a.to, a.size = 0, 0 // no range of an empty blob is
		a.body = http.NoBody
		return errors.Join(response.Body.Close(), d.known(a))
	case response.StatusCode == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", newRefusal(part, response), ErrChanged)
	case !succeeded(part, response.StatusCode) || response.StatusCode == http.StatusPartialContent:
		return newRefusal(part, response)
	default: // the whole, asked for or not
		a.to, a.size = response.ContentLength, response.ContentLength
	}
	if err := d.known(a); err != nil {
		return fmt.Errorf("%s: %w", where(part), err)
	}
	return a.skip(from)
}

// readRange reads a field such as "bytes 0-99/1000".
func (a *answer) readRange(field string, from int64) error {
	span, total, ok := strings.Cut(strings.TrimPrefix(field, "bytes "), "/")
	first, last, ok2 := strings.Cut(span, "-")
	start, err := strconv.ParseInt(first, 10, 64)
	end, err2 := strconv.ParseInt(last, 10, 64)
	if !ok || !ok2 || errors.Join(err, err2) != nil || start != from || end < start {
		return fmt.Errorf("the answer to a request from byte %d has the range %q", from, abbreviate(field))
	}
	a.from, a.to = start, end+1
	if size, err := strconv.ParseInt(total, 10, 64); err == nil {
		a.size = size
	}
	return nil
}

// known compares an answer with what is known of the blob.
func (d *download) known(a *answer) error {
	if d.version != "" && a.version != "" && d.version != a.version {
		return ErrChanged
	}
	if d.size >= 0 && a.size >= 0 && d.size != a.size {
		return fmt.Errorf("%w: the server has %d bytes instead of %d", ErrMismatch, a.size, d.size)
	}
	return nil
}

// skip drops what the server sent although it was not asked for: it may not know ranges.
func (a *answer) skip(from int64) error {
	for buffer := make([]byte, min(from-a.from, 64<<10)); a.from < from; {
		n, err := a.Read(buffer[:min(from-a.from, int64(len(buffer)))])
		if a.from += int64(n); err != nil && a.from < from {
			return fmt.Errorf("skip what was read before: %w", noEOF(err))
		}
	}
	return nil
}

// version tells one state of what the server has from another, by what a server says of it.
func version(header http.Header) string {
	if tag := header.Get("ETag"); tag != "" {
		return tag
	}
	return header.Get("Last-Modified")
}

// noEOF makes an end that came too early an error.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
