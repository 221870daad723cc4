package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestFrames(t *testing.T) {
	t.Parallel()
	for _, f := range []Frame{
		{},
		{Kind: KindCall, Call: 1, Op: 10, Body: []byte("{}")},
		{Kind: KindWindow, Call: 1<<32 - 1, ID: 300, Window: Window},
		{Kind: KindData, Call: 2, ID: 1, Body: bytes.Repeat([]byte{0}, 1<<20)},
	} {
		var got Frame
		if err := Decode(Append(nil, &f), &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, f) {
			t.Errorf("got %+v, want %+v", got, f)
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	want := Frame{Kind: KindAnswer, Call: 5, Body: []byte("ok")}
	for name, text := range map[string]string{
		"in order":             "\x08\x02\x10\x05\x32\x02ok",
		"in another":           "\x32\x02ok\x10\x05\x08\x02",
		"a field given twice":  "\x08\x01\x08\x02\x10\x05\x32\x02ok",
		"unknown fields":       "\x3d\x00\x00\x00\x00\x41\x00\x00\x00\x00\x00\x00\x00\x00\x4a\x01x\x50\x07\x08\x02\x10\x05\x32\x02ok",
		"a body with capacity": "\x32\x02ok\x10\x05\x08\x02\x4a\x01x",
	} {
		var got Frame
		if err := Decode([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
		if cap(got.Body) != len(got.Body) {
			t.Errorf("%s: appending to the body writes into what follows it", name)
		}
	}
	for name, text := range map[string]string{
		"cut in a key":      "\x80",
		"cut in a number":   "\x08\x80",
		"cut in a length":   "\x32\x80",
		"cut in a body":     "\x32\x03ok",
		"a length too long": "\x32\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		"a large number":    "\x10\x80\x80\x80\x80\x10",
		"a group":           "\x0b\x0c",
		"cut in fixed":      "\x3d\x00",
	} {
		if err := Decode([]byte(text), new(Frame)); !errors.Is(err, errMalformed) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x08\x02\x10\x05\x32\x02ok"))
	f.Add([]byte("\x3d\x00\x00\x00\x00\x41\x00\x00\x00\x00\x00\x00\x00\x00\x4a\x01x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var once, again Frame
		if Decode(text, &once) != nil {
			return
		}
		if err := Decode(Append(nil, &once), &again); err != nil {
			t.Fatal(err)
		}
		if len(once.Body) == 0 {
			once.Body = nil
		}
		if !reflect.DeepEqual(again, once) {
			t.Errorf("got %+v, want %+v", again, once)
		}
	})
}

// The text for other languages says what the code does.
func TestProtoText(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../trowel.proto")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^  (?:\w+ )?(\w+) = (\d+);$`).FindAllStringSubmatch(string(text), -1) {
		n, _ := strconv.Atoi(m[2])
		got[m[1]] = n
	}
	want := map[string]int{
		"kind": fieldKind, "call": fieldCall, "id": fieldID, "op": fieldOp, "window": fieldWindow, "body": fieldBody, "NONE": 0,
		"CALL": int(KindCall), "ANSWER": int(KindAnswer), "HOST_CALL": int(KindHostCall), "HOST_ANSWER": int(KindHostAnswer),
		"LOG": int(KindLog), "DATA": int(KindData), "END": int(KindEnd), "WINDOW": int(KindWindow), "CANCEL": int(KindCancel),
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, says := range []string{
		"package trowel.v1;", "service Plugin {", "rpc Session(stream Frame) returns (stream Frame);", CookieName + "=" + CookieValue, Lifeline,
	} {
		if !strings.Contains(string(text), says) {
			t.Errorf("it does not say %s", says)
		}
	}
}

// A sender that goes beyond the window is found out, and one that keeps to it is granted as much as was read.
func TestWindow(t *testing.T) {
	t.Parallel()
	granted := 0
	q := NewQueue(func(n int) { granted += n })
	if err := q.Put([]byte("early")); !errors.Is(err, ErrWindow) {
		t.Errorf("before it was opened: %v", err)
	}
	q.Open()
	q.Open()
	if granted != Window {
		t.Fatalf("granted %d", granted)
	}
	for range Window / Chunk {
		if err := q.Put(make([]byte, Chunk)); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Put([]byte("x")); !errors.Is(err, ErrWindow) {
		t.Errorf("beyond the window: %v", err)
	}
	read := make([]byte, Window/2)
	if n, err := q.Read(t.Context(), read); n != len(read) || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	if granted != Window+Window/2 {
		t.Errorf("granted %d in sum", granted)
	}
	if err := q.Put(make([]byte, Window/2)); err != nil {
		t.Error(err)
	}
	q.End(io.EOF)
	if n, err := io.Copy(io.Discard, reader(func(p []byte) (int, error) { return q.Read(t.Context(), p) })); n != Window || err != nil {
		t.Errorf("read %d more, %v", n, err)
	}
}

type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

// A window of single bytes costs about as much as one of large pieces.
func TestTinyPieces(t *testing.T) {
	t.Parallel()
	q := NewQueue(func(int) {})
	q.Open()
	for range Window {
		if err := q.Put([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(q.chunks); got > Window/small {
		t.Errorf("%d pieces are kept", got)
	}
}

func TestCredit(t *testing.T) {
	t.Parallel()
	c := NewCredit()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	if _, err := c.Take(ctx, 1); !errors.Is(err, stop) {
		t.Errorf("empty: %v", err)
	}
	c.Add(10)
	for _, want := range []int{6, 4} {
		if got, err := c.Take(t.Context(), 6); got != want || err != nil {
			t.Errorf("took %d, %v, want %d", got, err, want)
		}
	}
	waiting := make(chan error)
	go func() {
		_, err := c.Take(context.Background(), 1)
		waiting <- err
	}()
	c.Fail(stop)
	if err := <-waiting; !errors.Is(err, stop) {
		t.Errorf("failed: %v", err)
	}
}
