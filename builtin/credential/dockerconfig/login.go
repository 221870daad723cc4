package dockerconfig

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/trowel-build/trowel/builtin/credential/helper"
)

// hubKey is what Docker's files call Docker Hub.
const hubKey = "https://index.docker.io/v1/"

// Login is a credential to be kept.
type Login struct {
	Dir         string // of config.json, which is made if there is none
	Registry    string
	User        string
	Secret      string
	Environment []string // of a credential store that the file names
}

// Store keeps a credential in the file, or in the credential store that the file names for the registry. What else is in the
// file stays as it is.
func (l Login) Store(ctx context.Context) error {
	if err := l.store(ctx); err != nil {
		return fmt.Errorf("log in to %q: %w", l.Registry, err)
	}
	return nil
}

func (l Login) store(ctx context.Context) error {
	name := filepath.Join(l.Dir, "config.json")
	document := map[string]json.RawMessage{}
	text, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case len(text) > 0:
		if err := json.Unmarshal(text, &document); err != nil {
			return fmt.Errorf("%q %s", name, position(err, len(text)))
		}
	}
	known, err := parse(fmt.Sprintf("%q", name), orEmpty(text))
	if err != nil {
		return err
	}
	key := l.Registry
	if normaliseKey(key) == "docker.io" {
		key = hubKey
	}
	store := known.store
	if named, ok := known.helpers[normaliseKey(key)]; ok {
		store = named.value
	}
	if store != "" {
		h, err := helper.New(helper.Config{Name: store, Environment: l.Environment})
		if err != nil {
			return err
		}
		return h.Store(ctx, key, l.User, l.Secret)
	}
	auths := map[string]json.RawMessage{}
	if held, ok := document["auths"]; ok {
		if err := json.Unmarshal(held, &auths); err != nil {
			return fmt.Errorf("%q has auths of the wrong type", name)
		}
	}
	for other := range auths { // under another spelling, which would be found first
		if normaliseKey(other) == normaliseKey(key) {
			delete(auths, other)
		}
	}
	if auths[key], err = json.Marshal(auth{Auth: base64.StdEncoding.EncodeToString([]byte(l.User + ":" + l.Secret))}); err != nil {
		return err
	}
	if document["auths"], err = json.Marshal(auths); err != nil {
		return err
	}
	return l.write(name, document)
}

func orEmpty(text []byte) []byte {
	if len(text) == 0 {
		return []byte("{}")
	}
	return text
}

// write puts the file in its place, whole or not at all, and for its owner alone.
func (l Login) write(name string, document map[string]json.RawMessage) (err error) {
	text, err := json.MarshalIndent(document, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(l.Dir, ".config-*.json") // with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
