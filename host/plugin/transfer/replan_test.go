package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/sdk"
)

// gate refuses requests whose URL has another ticket than the present one.
type gate struct {
	status int
	ticket atomic.Value
}

func (g *gate) refuse(w http.ResponseWriter, r *http.Request, _ int) bool {
	if want, ok := g.ticket.Load().(string); ok && r.URL.Query().Get("ticket") != want {
		http.Error(w, "the ticket "+want+" is needed", g.status)
		return true
	}
	return false
}

// ticketed gives the parts of a plan a ticket.
func ticketed(plan sdk.Transfer, ticket string) sdk.Transfer {
	parts := append([]sdk.TransferPart(nil), plan.Parts...)
	for i := range parts {
		parts[i].URL += "?ticket=" + ticket
	}
	plan.Parts = parts
	return plan
}

func TestGetReplans(t *testing.T) {
	t.Parallel()
	content := noise(8, 8*part)
	for _, tt := range []struct{ status, parallel, tickets int }{{401, 1, 3}, {403, 1, 3}, {401, 4, 2}, {403, 4, 2}} {
		s := newServer(t)
		s.put("/blob", content)
		g := &gate{status: tt.status}
		g.ticket.Store("1")
		s.fault = func(w http.ResponseWriter, r *http.Request, n int) bool {
			switch {
			case n == 3:
				g.ticket.Store("2")
			case n == 6 && tt.tickets == 3: // the second one has been used meanwhile
				g.ticket.Store("3")
			}
			return g.refuse(w, r, n)
		}
		var asked atomic.Int32
		replan := func(context.Context) (sdk.Transfer, error) {
			asked.Add(1)
			return ticketed(s.getPlan("/blob"), g.ticket.Load().(string)), nil
		}
		e := engine(t, func(o *transfer.Options) { o.Parallel = tt.parallel })
		got, err := get(t.Context(), e, blobOf(content), ticketed(s.getPlan("/blob"), "1"), replan)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("got %d bytes: %v", len(got), err)
		}
		if n := int(asked.Load()); n != tt.tickets-1 {
			t.Errorf("%d new plans for %d tickets that expired", n, tt.tickets-1)
		}
	}
}

// A plan that is refused although it is new is not asked for again.
func TestReplanOnce(t *testing.T) {
	t.Parallel()
	content := noise(9, 3*part)
	s := newServer(t)
	g := &gate{status: 403}
	g.ticket.Store("never")
	s.fault = g.refuse
	s.put("/blob", content)
	var asked int
	replan := func(plan sdk.Transfer) func(context.Context) (sdk.Transfer, error) {
		return func(context.Context) (sdk.Transfer, error) { asked++; return plan, nil }
	}
	_, err := get(t.Context(), engine(t), blobOf(content), s.getPlan("/blob"), replan(s.getPlan("/blob")))
	if asked != 1 || sdk.AsError(err).Code != sdk.CodeUnauthorized || !strings.Contains(err.Error(), "the ticket never is needed") {
		t.Errorf("get: %d new plans, error %v", asked, err)
	}
	asked = 0
	_, err = engine(t).Put(t.Context(), blobOf(content), memory(content), s.putPlan("/up", 3*part, part), replan(s.putPlan("/up", 3*part, part)))
	if asked != 1 || sdk.AsError(err).Code != sdk.CodeUnauthorized {
		t.Errorf("put: %d new plans, error %v", asked, err)
	}
	broken := errors.New("the plugin broke")
	_, err = get(t.Context(), engine(t), blobOf(content), s.getPlan("/blob"), func(context.Context) (sdk.Transfer, error) {
		return sdk.Transfer{}, broken
	})
	if !errors.Is(err, broken) || sdk.AsError(err).Code != sdk.CodeUnauthorized {
		t.Errorf("error %v tells not of both", err)
	}
}

// A plan that says it has expired is replaced before it is used.
func TestReplanExpired(t *testing.T) {
	t.Parallel()
	content := noise(10, 3*part)
	s := newServer(t)
	s.put("/blob", content)
	g := &gate{status: 403}
	g.ticket.Store("new")
	s.fault = g.refuse
	old := ticketed(s.getPlan("/blob"), "old")
	old.Expires = time.Now().Add(-time.Second)
	got, err := get(t.Context(), engine(t), blobOf(content), old, func(context.Context) (sdk.Transfer, error) {
		return ticketed(s.getPlan("/blob"), "new"), nil
	})
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("got %d bytes: %v", len(got), err)
	}
	if n := s.count(); n != 3 {
		t.Errorf("%d requests, want 3: none by the expired plan", n)
	}
	upload := ticketed(s.putPlan("/up", 3*part, part), "old")
	upload.Expires = time.Now().Add(-time.Second)
	if _, err := engine(t).Put(t.Context(), blobOf(content), memory(content), upload, func(context.Context) (sdk.Transfer, error) {
		return ticketed(s.putPlan("/up", 3*part, part), "new"), nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := s.count(); n != 3 {
		t.Errorf("%d requests, want 3: none by the expired plan", n)
	}
}

// After a new plan for the same upload only the parts that are left are sent; a new upload takes all of them.
func TestPutReplans(t *testing.T) {
	t.Parallel()
	const size = 8 * part
	content := noise(11, size)
	for _, tt := range []struct {
		name, token string
		requests    int // at least
		most        int
	}{
		{"same upload", "/up", 9, 8 + 4},
		{"new upload", "/new", 8 + 3, 8 + 2 + 4},
	} {
		for how, offer := range offers(t, content) {
			t.Run(tt.name+" by "+how, func(t *testing.T) {
				t.Parallel()
				s := newServer(t)
				g := &gate{status: 403}
				g.ticket.Store("1")
				s.fault = func(w http.ResponseWriter, r *http.Request, n int) bool {
					if n == 3 {
						g.ticket.Store("2")
					}
					return g.refuse(w, r, n)
				}
				result, err := engine(t).Put(t.Context(), blobOf(content), offer, ticketed(s.putPlan("/up", size, part), "1"),
					func(context.Context) (sdk.Transfer, error) {
						return ticketed(s.putPlan(tt.token, size, part), "2"), nil
					})
				if err != nil {
					t.Fatal(err)
				}
				if result.Token != tt.token || len(result.Parts) != 8 {
					t.Errorf("the result has the token %q and %d parts", result.Token, len(result.Parts))
				}
				if got := s.assembled(tt.token, size, part); !bytes.Equal(got, content) {
					t.Errorf("the parts have %d bytes that are not those of the blob", len(got))
				}
				if n := s.count(); n < tt.requests || n > tt.most {
					t.Errorf("%d requests, want %d to %d", n, tt.requests, tt.most)
				}
			})
		}
	}
}

// Somebody else may have stored the blob meanwhile.
func TestPutReplanHeld(t *testing.T) {
	t.Parallel()
	content := noise(12, 2*part)
	s := newServer(t)
	g := &gate{status: 403}
	g.ticket.Store("never")
	s.fault = g.refuse
	result, err := engine(t).Put(t.Context(), blobOf(content), memory(content), s.putPlan("/up", 2*part, part),
		func(context.Context) (sdk.Transfer, error) { return sdk.Transfer{}, nil })
	if err != nil || len(result.Parts) != 0 {
		t.Errorf("result %v, error %v", result, err)
	}
}
