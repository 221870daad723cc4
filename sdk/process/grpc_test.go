package process

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trowel-build/trowel/sdk/process/wire"
)

// dial serves s at a socket, and returns a client of plain HTTP/2.
func dial(t *testing.T, s *server) *http.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- s.serve(listener, nil) }()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

// answered is what a gRPC client sees.
type answered struct {
	HTTP                  int
	Type, Status, Message string
	Body                  string
}

func post(t *testing.T, c *http.Client, path, contentType, body string) answered {
	t.Helper()
	resp, err := c.Post("http://plugin"+path, contentType, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{resp.StatusCode, resp.Header.Get("Content-Type"), resp.Trailer.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Message"), string(text)}
}

func message(body []byte) string {
	return string(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...))
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	s := &server{newHandler: func() Handler { return nil }, stopping: make(chan struct{})}
	c := dial(t, s)
	const kind, reply = "application/grpc", "application/grpc+proto"
	for _, tt := range []struct {
		path, kind, body string
		want             answered
	}{
		{pathHealth, kind, message([]byte("\x0a\x06plugin")), answered{200, reply, "0", "", message([]byte("\x08\x01"))}},
		{"/plugin.GRPCStdio/StreamStdio", kind, message(nil), answered{200, reply, "12", "unknown method /plugin.GRPCStdio/StreamStdio", ""}},
		{"/Käse", kind, message(nil), answered{200, reply, "12", "unknown method /K%C3%A4se", ""}},
		{pathHealth, kind, "\x01\x00\x00\x00\x00", answered{200, reply, "3", "compressed messages are not understood", ""}},
		{pathHealth, kind, "\x00\xff\xff\xff\xff", answered{200, reply, "3", "a message of 4294967295 bytes is larger than the most, 16842752", ""}},
		{pathHealth, kind, "\x00\x00\x00\x00\x05ab", answered{200, reply, "3", "unexpected EOF", ""}},
		{wire.SessionPath, kind, message([]byte("\x80")), answered{200, reply, "3", "malformed frame", ""}},
		{wire.SessionPath, kind, "", answered{200, reply, "0", "", ""}},
		{pathHealth, "text/html", "", answered{415, "text/plain; charset=utf-8", "", "", "this is a plugin of Trowel, and speaks gRPC\n"}},
	} {
		if got := post(t, c, tt.path, tt.kind, tt.body); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.path, got, tt.want)
		}
	}
}

// A plugin has one host at a time, and stops when it is told to.
func TestOneSession(t *testing.T) {
	t.Parallel()
	s := &server{newHandler: func() Handler { return nil }, stopping: make(chan struct{})}
	c := dial(t, s)
	from, to := io.Pipe()
	defer to.Close()
	first, err := c.Post("http://plugin"+wire.SessionPath, "application/grpc", from)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Body.Close()
	for s.busy.TryLock() {
		s.busy.Unlock()
	}
	if got := post(t, c, wire.SessionPath, "application/grpc", ""); got.Status != "9" {
		t.Errorf("a second session: %+v", got)
	}
	if got := post(t, c, pathShutdown, "application/grpc", message(nil)); got.Status != "0" || got.Body != message(nil) {
		t.Errorf("shutdown: %+v", got)
	}
	if _, err := io.Copy(io.Discard, first.Body); err != nil || first.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("the first session ended with %v, %q", err, first.Trailer)
	}
}

// Without a certificate of the host's there is no plugin.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "-----BEGIN CERTIFICATE-----\n"} {
		if _, err := mutualTLS(bad); err == nil || !strings.Contains(err.Error(), "PLUGIN_CLIENT_CERT") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// What a plugin left running cannot write into a response that is over.
func TestSendAfterEnd(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	g := &grpcStream{out: &out, flush: func() error { return nil }}
	if err := g.send(&wire.Frame{Kind: wire.KindLog}); err != nil || out.Len() != 7 {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
	g.close()
	if err := g.send(&wire.Frame{Kind: wire.KindLog}); err == nil || out.Len() != 7 {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
}
