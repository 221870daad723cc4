package hostile_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/trowel-build/trowel/sdk"
)

// serveNames serves names by DNS. A name with several addresses has the first when it is asked for the first time, the next
// then, and keeps the last.
func serveNames(t *trial, names map[string][]string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		query := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(query)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if answer := answerName(query[:n], names); answer != nil {
				_, _ = conn.WriteTo(answer, from) // whoever asked asks again
			}
		}
	})
	t.Cleanup(func() {
		must(t, conn.Close())
		serving.Wait()
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func answerName(query []byte, names map[string][]string) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	q := m.Questions[0]
	addresses := names[strings.ToLower(q.Name.String())]
	if addresses == nil {
		m.RCode = dnsmessage.RCodeNameError
	}
	if addresses != nil && q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class},
			Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(addresses[0]).To4())},
		}}
		if len(addresses) > 1 {
			names[q.Name.String()] = addresses[1:]
		}
	}
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}

// openText opens a text.
func openText(text string) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

// fetch reads a blob of a cache to its end.
func fetch(t *trial, cache sdk.Cache, digest sdk.Digest) error {
	content, err := cache.GetBlob(t.Context(), digest)
	if err != nil {
		return err
	}
	r, err := content.Open(t.Context())
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}
