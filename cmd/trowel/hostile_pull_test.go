package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const zeroDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	return l.Addr().String()
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if code == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="theirs"`)
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// TestHostilePull starts from images in registries that are not there, refuse, or lie.
func TestHostilePull(t *testing.T) {
	t.Parallel()
	simple := func(t *testing.T) *forgery { return forge(pack(t, folder("d/"), file("d/f", "content\n"))) }
	descriptors := func(s *site, all ...ocispec.Descriptor) []byte {
		return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":%s}`, ocispec.MediaTypeImageIndex, toJSON(all))
	}
	platform := &ocispec.Platform{OS: "linux", Architecture: goArch()}
	for name, c := range map[string]struct {
		from    string // default: the site's image
		prepare func(*site)
		want    []string
	}{
		"connection refused": {from: closedPort(t) + "/x:1", want: []string{`Dockerfile:1`, `/x:1`, `connection refused`}},
		"unknown host":       {from: "registry.invalid/x:1", want: []string{`Dockerfile:1`, `registry.invalid/x:1`}},
		"not found":          {want: []string{`Dockerfile:1`, `/evil:1`, `not found`}},
		"401":                {prepare: func(s *site) { s.lie("evil/manifests/1", status(401, "")) }, want: []string{`Dockerfile:1`, `/evil:1`, `hint: `}},
		"403": {prepare: func(s *site) {
			s.lie("evil/manifests/1", status(403, `{"errors":[{"code":"DENIED","message":"not \u001b[31myou"}]}`))
		}, want: []string{`Dockerfile:1`, `/evil:1`, `not .*you`}},
		"HTML": {prepare: func(s *site) { s.lie("evil/manifests/1", status(200, "<html><body>Welcome</body></html>")) }, want: []string{`Dockerfile:1`, `/evil:1`, `JSON`}},
		"garbage": {prepare: func(s *site) {
			s.serve("evil/manifests/1", ocispec.MediaTypeImageManifest, []byte(`{"schemaVersion":2,"layers":"x","config":[]}`))
		}, want: []string{`Dockerfile:1`, `/evil:1`}},
		"null": {prepare: func(s *site) { s.serve("evil/manifests/1", ocispec.MediaTypeImageManifest, []byte(`null`)) }, want: []string{`Dockerfile:1`, `/evil:1`}},
		"500":  {prepare: func(s *site) { s.lie("evil/manifests/1", status(500, "<html>\x1b[31m"+strings.Repeat("oops\n", 1000))) }, want: []string{`Dockerfile:1`, `/evil:1`, `500`}},
		"endless manifest": {prepare: func(s *site) {
			s.lie("evil/manifests/1", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
				for line := bytes.Repeat([]byte(" "), 1<<20); ; {
					if _, err := w.Write(line); err != nil {
						return
					}
				}
			})
		}, want: []string{`Dockerfile:1`, `/evil:1`, `larger than 4 MiB`}},
		"manifest of another digest": {from: "@/evil@" + zeroDigest, prepare: func(s *site) {
			s.publish(s.t, "evil", "1", simple(s.t))
			s.mu.Lock()
			s.lies["evil/manifests/"+zeroDigest] = s.lies["evil/manifests/1"]
			s.mu.Unlock()
		}, want: []string{`Dockerfile:1`, `digest`, zeroDigest}},
		"redirects in a ring": {prepare: func(s *site) {
			s.lie("evil/manifests/1", func(w http.ResponseWriter, q *http.Request) {
				http.Redirect(w, q, q.URL.Path, http.StatusTemporaryRedirect)
			})
		}, want: []string{`Dockerfile:1`, `/evil:1`, `redirect`}},
		"config of another digest": {prepare: func(s *site) {
			f := simple(s.t)
			f.edit = func(m *ocispec.Manifest) {
				s.lie("evil/blobs/"+m.Config.Digest.String(), status(200, strings.Repeat("x", int(m.Config.Size))))
			}
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`Dockerfile:1`, `sha256:`, `digest`}},
		"config of 1 TB": {prepare: func(s *site) {
			f := simple(s.t)
			f.edit = func(m *ocispec.Manifest) { m.Config.Size = 1 << 40 }
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`Dockerfile:1`, `/evil:1`, `1099511627776`}},
		"negative sizes": {prepare: func(s *site) {
			f := simple(s.t)
			f.edit = func(m *ocispec.Manifest) { m.Config.Size, m.Layers[0].Size = -1, -1 }
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`Dockerfile:1`, `size`}},
		"digest that is none": {prepare: func(s *site) {
			f := simple(s.t)
			f.edit = func(m *ocispec.Manifest) { m.Layers[0].Digest = "sha256:../../../etc/passwd" }
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`Dockerfile:1`, `digest`}},
		"layer of another digest": {prepare: func(s *site) {
			f := simple(s.t)
			f.edit = func(m *ocispec.Manifest) {
				s.lie("evil/blobs/"+m.Layers[0].Digest.String(), status(200, string(bytes.Repeat([]byte("x"), int(m.Layers[0].Size)))))
			}
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`/evil@sha256:`}},
		"truncated blob": {prepare: func(s *site) {
			f := simple(s.t)
			f.edit = func(m *ocispec.Manifest) {
				s.lie("evil/blobs/"+m.Layers[0].Digest.String(), func(w http.ResponseWriter, q *http.Request) { _, _ = w.Write(f.layers[0][:40]) })
			}
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`/evil@sha256:`, `40 of \d+ bytes|bytes`}},
		"blob too long": {prepare: func(s *site) {
			f := simple(s.t)
			f.edit = func(m *ocispec.Manifest) {
				s.lie("evil/blobs/"+m.Layers[0].Digest.String(), status(200, string(f.layers[0])+strings.Repeat("x", 1<<20)))
			}
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`/evil@sha256:`, `more than`}},
		"blob is not there": {prepare: func(s *site) {
			f := simple(s.t)
			f.edit = func(m *ocispec.Manifest) { s.lie("evil/blobs/"+m.Layers[0].Digest.String(), status(404, "")) }
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`/evil@sha256:`, `not found`}},
		"corrupt gzip in the middle": {prepare: func(s *site) {
			f := simple(s.t)
			f.layers[0] = append(f.layers[0][:30:30], append(bytes.Repeat([]byte{0xff}, 10), f.layers[0][40:]...)...)
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`/evil@sha256:[0-9a-f]{64}`, `gzip`}},
		"corrupt gzip trailer": {prepare: func(s *site) {
			f := simple(s.t)
			f.layers[0] = bytes.Clone(f.layers[0])
			f.layers[0][len(f.layers[0])-6] ^= 0xff
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`/evil@sha256:[0-9a-f]{64}`, `gzip`}},
		"another diff ID": {prepare: func(s *site) {
			f := simple(s.t)
			f.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": []string{zeroDigest}}
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`/evil@sha256:[0-9a-f]{64}`, `diff ID`}},
		"too many diff IDs": {prepare: func(s *site) {
			f := simple(s.t)
			f.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": []string{zeroDigest, zeroDigest}}
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`Dockerfile:1`, `/evil:1`, `2`}},
		"no diff IDs": {prepare: func(s *site) {
			f := simple(s.t)
			delete(f.config, "rootfs")
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`Dockerfile:1`, `/evil:1`}},
		"config of another kind": {prepare: func(s *site) {
			f := simple(s.t)
			f.edit = func(m *ocispec.Manifest) { m.Config.MediaType = "application/vnd.cncf.helm.config.v1+json" }
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`Dockerfile:1`, `/evil:1`, `helm`}},
		"layer of another kind": {prepare: func(s *site) {
			f := simple(s.t)
			f.edit = func(m *ocispec.Manifest) { m.Layers[0].MediaType = "text/plain" }
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`Dockerfile:1`, `/evil:1`, `text/plain`}},
		"manifest of another kind": {prepare: func(s *site) {
			f := simple(s.t)
			f.manifest.MediaType = "application/x-unknown\x1b[31m"
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`Dockerfile:1`, `/evil:1`, `x-unknown`}},
		"schema 1": {prepare: func(s *site) {
			s.serve("evil/manifests/1", "application/vnd.docker.distribution.manifest.v1+json", []byte(`{"schemaVersion":1,"name":"evil"}`))
		}, want: []string{`Dockerfile:1`, `/evil:1`, `schema 1`, `hint: `}},
		"no such platform": {prepare: func(s *site) {
			d := s.publish(s.t, "evil", "2", simple(s.t))
			s.serve("evil/manifests/1", ocispec.MediaTypeImageIndex, descriptors(s, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: 1, Platform: &ocispec.Platform{OS: "linux", Architecture: "s390x"}}))
		}, want: []string{`Dockerfile:1`, `/evil:1`, `s390x`}},
		"empty index": {prepare: func(s *site) {
			s.serve("evil/manifests/1", ocispec.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
		}, want: []string{`Dockerfile:1`, `/evil:1`}},
		"layer of 10 TB": {prepare: func(s *site) {
			f := simple(s.t)
			f.edit = func(m *ocispec.Manifest) { m.Layers[0].Size = 10 << 40 }
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`/evil@sha256:`, `10995116277760`}},
		"nested indexes": {prepare: func(s *site) {
			d := s.publish(s.t, "evil", "0", simple(s.t))
			kind := ocispec.MediaTypeImageManifest
			for range 10 {
				d = s.serve("evil/manifests/1", ocispec.MediaTypeImageIndex, descriptors(s, ocispec.Descriptor{MediaType: kind, Digest: d, Size: 1, Platform: platform}))
				kind = ocispec.MediaTypeImageIndex
			}
		}, want: []string{`Dockerfile:1`, `/evil:1`, `nested`}},
		"ring of indexes": {prepare: func(s *site) {
			// A digest that is its own would be a miracle; a registry can still answer with it.
			raw := descriptors(s, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.Digest(zeroDigest), Size: 1, Platform: platform})
			s.serve("evil/manifests/1", ocispec.MediaTypeImageIndex, raw)
			s.lie("evil/manifests/"+zeroDigest, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
				_, _ = w.Write(raw)
			})
		}, want: []string{`Dockerfile:1`, `/evil@sha256:0`, `digest`}},
		"a thousand layers": {prepare: func(s *site) {
			f := simple(s.t)
			f.edit = func(m *ocispec.Manifest) {
				for range 1000 {
					m.Layers = append(m.Layers, m.Layers[0])
				}
			}
			s.publish(s.t, "evil", "1", f)
		}, want: []string{`Dockerfile:1`, `/evil:1`, `1001`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			if c.prepare != nil {
				c.prepare(s)
			}
			from := s.host() + "/evil:1"
			if c.from != "" {
				from = strings.ReplaceAll(c.from, "@/", s.host()+"/")
			}
			// That the layer is read at all takes a question that only its files answer.
			s.write("Dockerfile", "FROM "+from+"\nCOPY --chown=app f d/\n")
			s.write("f", "f\n")
			s.own()
			o := s.build()
			t.Log(o.took, o.memory>>20, complaint(o.stderr))
			s.refused(o, c.want...)
		})
	}
}

// TestHostilePush pushes to registries that are not there, or refuse.
func TestHostilePush(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		to      string
		prepare func(*site)
		want    []string
	}{
		"connection refused": {closedPort(t) + "/to:1", nil, []string{`/to`, `connection refused`}},
		"unknown host":       {"registry.invalid/to:1", nil, []string{`registry.invalid/to`}},
		"401":                {"", func(s *site) { s.lie("to/blobs/uploads/", status(401, "")) }, []string{`/to`, `hint: `}},
		"403":                {"", func(s *site) { s.lie("to/blobs/uploads/", status(403, "")) }, []string{`error: push to`, `/to`, `denied|forbidden|refused|403`}},
		"500":                {"", func(s *site) { s.lie("to/blobs/uploads/", status(500, "<html>oops</html>")) }, []string{`/to`, `500`}},
		"HTML":               {"", func(s *site) { s.lie("to/blobs/uploads/", status(200, "<html>Welcome</html>")) }, []string{`/to`}},
		"no location":        {"", func(s *site) { s.lie("to/blobs/uploads/", status(202, "")) }, []string{`/to`, `where to go on`}},
		"location elsewhere": {"", func(s *site) {
			s.lie("to/blobs/uploads/", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "file:///etc/passwd")
				w.WriteHeader(202)
			})
		}, []string{`/to`}},
		"manifest refused": {"", func(s *site) {
			s.lie("to/manifests/1", status(400, `{"errors":[{"code":"MANIFEST_INVALID","message":"no"}]}`))
		}, []string{`/to:1`, `MANIFEST_INVALID|no`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			if c.prepare != nil {
				c.prepare(s)
			}
			to := c.to
			if to == "" {
				to = s.host() + "/to:1"
			}
			s.write("Dockerfile", "FROM scratch\nCOPY f /\n")
			s.write("f", "f\n")
			s.own()
			o := s.trowel("build", "--progress", "plain", "-t", to, "--push", s.context)
			t.Log(o.took, o.memory>>20, complaint(o.stderr))
			s.refused(o, c.want...)
		})
	}
}
