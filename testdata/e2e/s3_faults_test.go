//go:build e2e

package e2e

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
)

// httptestServer is a server of a test whose complaints about faults that were asked for nobody wants to read.
type httptestServer struct{ *httptest.Server }

func newHTTPTestServer(t testing.TB, handle http.HandlerFunc) *httptestServer {
	t.Helper()
	s := httptest.NewUnstartedServer(handle)
	s.Config.ErrorLog = silent()
	s.Start()
	t.Cleanup(s.Close)
	return &httptestServer{s}
}

func silent() *log.Logger { return log.New(io.Discard, "", 0) }

// discarding is an answer that nobody gets.
type discarding struct{ header http.Header }

func (d *discarding) Header() http.Header         { return d.header }
func (d *discarding) Write(p []byte) (int, error) { return len(p), nil }
func (d *discarding) WriteHeader(int)             {}

// cutting sends half of the answer's body and ends the connection.
type cutting struct {
	http.ResponseWriter
	wrote bool
}

func (c *cutting) Write(p []byte) (int, error) {
	if c.wrote {
		panic(http.ErrAbortHandler)
	}
	c.wrote = true
	n, err := c.ResponseWriter.Write(p[:len(p)/2])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	return n, errors.Join(err, io.ErrShortWrite)
}

// cutBody breaks off.
type cutBody struct {
	io.ReadCloser
	left int64
}

func (c *cutBody) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("cut")
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}
