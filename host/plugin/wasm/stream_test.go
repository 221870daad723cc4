package wasm

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/sdk/abi"
)

func TestStreams(t *testing.T) {
	t.Parallel()
	const length = 64 << 20
	p := warm(t, Options{})
	for _, op := range []abi.Op{opCopy, opSplice} {
		source, sink := &pattern{left: length}, &pattern{left: length}
		answer, err := p.Call(t.Context(), op, nil, abi.Streams{1: source, 2: sink})
		if err != nil || string(answer) != fmt.Sprint(length) || sink.left != 0 || sink.wrong {
			t.Errorf("operation %d: answer %s, %v; %d bytes missing, wrong %t", op, answer, err, sink.left, sink.wrong)
		}
	}
	if answer, err := p.Call(t.Context(), opLength, nil, abi.Streams{1: &pattern{left: 12345}}); err != nil || string(answer) != "12345" {
		t.Errorf("length %s, %v", answer, err)
	}
	for name, streams := range map[string]abi.Streams{
		"none": nil, "of the other direction": {1: io.Discard}, "broken": {1: io.MultiReader(strings.NewReader("x"), broken{})},
	} {
		answer, err := p.Call(t.Context(), opLength, nil, streams)
		if _, resultErr := abi.Result(answer); err != nil || resultErr == nil {
			t.Errorf("stream %s: answer %s, %v", name, answer, err)
		}
	}
	answer, err := p.Call(t.Context(), opClosed, nil, abi.Streams{1: strings.NewReader("x")})
	if _, resultErr := abi.Result(answer); err != nil || resultErr == nil || !strings.Contains(resultErr.Error(), "closed") {
		t.Errorf("closed stream: %v, %v", resultErr, err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken") }

// pattern is a stream whose bytes depend on their position, to be read or to be written and checked.
type pattern struct {
	pos, left int
	wrong     bool
}

func (s *pattern) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(len(p), s.left)]
	for i := range p {
		p[i] = byte((s.pos + i) * 7 >> 3)
	}
	s.pos, s.left = s.pos+len(p), s.left-len(p)
	return len(p), nil
}

func (s *pattern) Write(p []byte) (int, error) {
	for i := range p {
		s.wrong = s.wrong || p[i] != byte((s.pos+i)*7>>3)
	}
	s.pos, s.left = s.pos+len(p), s.left-len(p)
	return len(p), nil
}
