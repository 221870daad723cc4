package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trowel-build/trowel/sdk/abi"
)

func TestPatience(t *testing.T) {
	t.Parallel()
	over := errors.New("over")
	for name, tt := range map[string]struct {
		moved int
		after time.Duration // it ends
	}{
		"nothing moves": {0, 10 * time.Second},
		"64 KiB":        {64 << 10, 11 * time.Second},
		"a byte":        {1, 10 * time.Second},
		"10 MiB":        {10 << 20, 170 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var sink bytes.Buffer
				given := abi.Streams{1: strings.NewReader(strings.Repeat("x", tt.moved)), 2: &sink}
				start := time.Now()
				ctx, streams, stop := Patience(t.Context(), 10*time.Second, over, given)
				defer stop()
				// Half is read, and half is written.
				if _, err := io.CopyN(io.Discard, streams[1].(io.Reader), int64(tt.moved/2)); err != nil {
					t.Fatal(err)
				}
				if _, err := streams[2].(io.Writer).Write(make([]byte, tt.moved-tt.moved/2)); err != nil {
					t.Fatal(err)
				}
				<-ctx.Done()
				if took := time.Since(start); took.Truncate(time.Second) != tt.after || !errors.Is(context.Cause(ctx), over) {
					t.Errorf("ended after %v for %v, want %v", took, context.Cause(ctx), tt.after)
				}
			})
		})
	}
}

func TestPatienceStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, _, stop := Patience(t.Context(), time.Second, errors.New("over"), nil)
		stop()
		time.Sleep(time.Minute)
		if !errors.Is(context.Cause(ctx), context.Canceled) {
			t.Errorf("a call that is over ends for %v", context.Cause(ctx))
		}
	})
}
