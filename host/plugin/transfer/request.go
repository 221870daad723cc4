package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/trowel-build/trowel/sdk"
)

// newRequest makes the request of a part.
func newRequest(ctx context.Context, part sdk.TransferPart) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, part.Method, part.URL, http.NoBody)
	if err != nil {
		return nil, invalid("a plan has a URL that is none") // not quoted: it may hold a signature
	}
	for _, h := range part.Header {
		request.Header.Add(h.Name, h.Value)
	}
	return request, nil
}

// deadline ends a request that moves no bytes. It runs from its making and from each start until a stop.
type deadline struct {
	timer   *time.Timer
	stall   time.Duration
	end     context.CancelCauseFunc
	stalled atomic.Bool
}

func newDeadline(ctx context.Context, stall time.Duration) (context.Context, *deadline) {
	ctx, end := context.WithCancelCause(ctx)
	d := &deadline{stall: stall, end: end}
	d.timer = time.AfterFunc(stall, func() {
		d.stalled.Store(true)
		end(errStall)
	})
	return ctx, d
}

func (d *deadline) start() { d.timer.Reset(d.stall) }
func (d *deadline) stop()  { d.timer.Stop() }

// cancel ends the request.
func (d *deadline) cancel() {
	d.timer.Stop()
	d.end(context.Canceled)
}

// plain removes from the error of a request what must not be told, the query with its signature, and tells what ended it.
func plain(ctx context.Context, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) { // must not pass for the end of the blob with whoever looks into the error
		return &sdk.Error{Code: sdk.CodeUnavailable, Retryable: true, Message: "the server closed the connection instead of answering"}
	}
	return err
}

// where names a request without its query, which may hold a signature.
func where(part sdk.TransferPart) string {
	u, err := url.Parse(part.URL)
	if err != nil {
		return part.Method
	}
	return fmt.Sprintf("%s %q", part.Method, (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String())
}

// succeeded says whether a status is one that the plan wants.
func succeeded(part sdk.TransferPart, status int) bool {
	if len(part.Expect) > 0 {
		return slices.Contains(part.Expect, status)
	}
	return 200 <= status && status <= 299
}

// refusal is an answer that is not success.
type refusal struct {
	where  string
	method string
	status int
	said   string
	after  time.Duration
}

// newRefusal reads what a server has to say, and closes the answer.
func newRefusal(part sdk.TransferPart, response *http.Response) *refusal {
	said, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10)) // half an explanation is one, too
	_ = response.Body.Close()
	return &refusal{
		where: where(part), method: part.Method, status: response.StatusCode, said: legible(string(said)),
		after: retryAfter(response.Header),
	}
}

func (r *refusal) Error() string {
	text := fmt.Sprintf("%s: %d %s", r.where, r.status, http.StatusText(r.status))
	if r.said != "" {
		text += ": " + r.said
	}
	return text
}

// Unwrap gives the refusal its code.
func (r *refusal) Unwrap() error {
	e := &sdk.Error{Code: sdk.CodeInternal, RetryAfterMillis: r.after.Milliseconds()}
	switch {
	case r.method == http.MethodGet && (r.status == http.StatusNotFound || r.status == http.StatusGone):
		e.Code = sdk.CodeNotFound
	case r.unauthorized():
		e.Code = sdk.CodeUnauthorized
	case passingStatus(r.status):
		e.Code, e.Retryable = sdk.CodeUnavailable, true
	}
	return e
}

func (r *refusal) unauthorized() bool {
	return r.status == http.StatusUnauthorized || r.status == http.StatusForbidden
}

// legible makes one short line of an error page, in XML, JSON or whatever: without tags, without what a terminal obeys. Of
// the errors of object stores it is the code and the message.
func legible(page string) string {
	_, code, ok := strings.Cut(page, "<Code>")
	_, message, ok2 := strings.Cut(page, "<Message>")
	if ok && ok2 {
		code, _, _ = strings.Cut(code, "<")
		message, _, _ = strings.Cut(message, "<")
		page = code + ": " + message
	}
	var b strings.Builder
	tag := false
	for _, r := range page {
		switch {
		case r == '<':
			tag = true
			b.WriteByte(' ')
		case r == '>':
			tag = false
		case tag:
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteRune(unicode.ReplacementChar)
		}
	}
	line := []rune(strings.Join(strings.Fields(b.String()), " "))
	if len(line) > 200 {
		return string(line[:200]) + "…"
	}
	return string(line)
}
