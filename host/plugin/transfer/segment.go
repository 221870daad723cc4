package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// segment reads the bytes of a blob from one offset to another. Where a request breaks off it makes another for the rest.
type segment struct {
	download *download
	ctx      context.Context //nolint:containedctx // that of the Get, whose reader this is a part of
	at       int64
	to       int64 // negative: the end of the blob
	body     *answer
	tries    tries
}

func (d *download) segment(ctx context.Context, from, to int64) *segment {
	return &segment{download: d, ctx: ctx, at: from, to: to, tries: tries{engine: d.engine}}
}

// open makes requests until one is answered.
func (s *segment) open() error {
	for s.body == nil {
		a, err := s.download.open(s.ctx, s.at, s.to)
		if err == nil {
			s.body = a
			return nil
		}
		if err := s.tries.again(s.ctx, s.what(), err); err != nil {
			return err
		}
	}
	return nil
}

func (s *segment) what() string { return fmt.Sprintf("get a blob from byte %d", s.at) }

// Read reads on, through as many requests as it takes.
func (s *segment) Read(p []byte) (int, error) {
	for s.at != s.to && len(p) > 0 {
		if err := s.open(); err != nil {
			return 0, err
		}
		if s.to >= 0 {
			p = p[:min(int64(len(p)), s.to-s.at)]
		}
		n, err := s.body.Read(p)
		s.at += int64(n)
		s.tries.progress(n)
		if n > 0 {
			return n, nil // the error, if any, comes again
		}
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) && s.to < 0 && s.body.to < 0 {
			s.to = s.at // where the end was not known, it is here
			break
		}
		cause := plain(s.ctx, noEOF(err))
		if s.ctx.Err() == nil && s.body.deadline.stalled.Load() {
			cause = errStall
		}
		s.close()
		if err := s.tries.again(s.ctx, s.what(), cause); err != nil {
			return 0, err
		}
	}
	if len(p) == 0 && s.at != s.to {
		return 0, nil
	}
	return 0, io.EOF
}

// close ends the request in progress, if there is one.
func (s *segment) close() {
	if s.body != nil {
		s.body.Close()
		s.body = nil
	}
}
