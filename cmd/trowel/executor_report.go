package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/trowel-build/trowel/host"
)

// check refuses what would be taken for the name of a file and is an address.
func (d *destinationFlags) check() error {
	for _, f := range []struct{ flag, to string }{
		{"digest-file", d.digestFile}, {"image-name-with-digest-file", d.nameDigestFile}, {"image-name-tag-with-digest-file", d.tagDigestFile},
	} {
		if scheme, _, ok := strings.Cut(f.to, "://"); ok && scheme != "https" {
			return usageError{fmt.Errorf("--%s %s://…: want a file or an https address", f.flag, scheme)}
		}
	}
	return nil
}

// report writes the files that say what was built, and one below builderOutput, if that is named, for Cloud Build.
func (d *destinationFlags) report(ctx context.Context, result host.Result, builderOutput string) error {
	var named, tagged, images bytes.Buffer
	for _, destination := range d.destinations {
		n, err := host.ParseName(destination)
		if err != nil {
			return err
		}
		repository := kanikoName(n)
		fmt.Fprintf(&named, "%s@%s\n", repository, result.Digest)
		fmt.Fprintf(&tagged, "%s:%s@%s\n", repository, n.Tag, result.Digest)
		line, err := json.Marshal(struct {
			Name   string `json:"name"`
			Digest string `json:"digest"`
		}{repository + ":" + n.Tag, result.Digest})
		if err != nil {
			return err
		}
		images.Write(append(line, '\n'))
	}
	for _, f := range []struct {
		flag, to string
		text     []byte
	}{
		{"digest-file", d.digestFile, []byte(result.Digest)},
		{"image-name-with-digest-file", d.nameDigestFile, named.Bytes()},
		{"image-name-tag-with-digest-file", d.tagDigestFile, tagged.Bytes()},
	} {
		if f.to == "" {
			continue
		}
		if err := put(ctx, f.to, f.text); err != nil {
			return fmt.Errorf("write --%s: %w", f.flag, err)
		}
	}
	if builderOutput != "" {
		if err := os.WriteFile(filepath.Join(builderOutput, "images"), images.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write the images below BUILDER_OUTPUT: %w", err)
		}
	}
	return nil
}

// kanikoName is a repository as kaniko writes it.
func kanikoName(n host.Name) string {
	if n.Registry == "docker.io" {
		return "index.docker.io/" + n.Path
	}
	return n.Repository()
}

// putTimeout is how long a web server may take for a line.
const putTimeout = time.Minute

// put writes a file, or sends it to a web server. The query of an address is a secret: what is pre-signed has its signature
// there.
func put(ctx context.Context, to string, text []byte) error {
	if !strings.HasPrefix(to, "https://") {
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o644)
	}
	address, _, _ := strings.Cut(to, "?")
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, to, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("send it to %q: it is no address", address)
	}
	request.Header.Set("Content-Type", "text/plain")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("send it to %q: %w", address, withoutURL(err))
	}
	_, _ = io.CopyN(io.Discard, answer.Body, 64<<10) // what it says is of no use
	if err := answer.Body.Close(); err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("send it to %q: the server answered %s", address, answer.Status)
	}
	return nil
}

// withoutURL is an error of package http without the address, which may hold a signature.
func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}
