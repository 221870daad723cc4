package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/trowel-build/trowel/host"
)

// parseSecrets reads --secret, in the syntax of buildx: "id=ID,src=FILE", "id=ID,env=NAME", "type=env,id=ID". With an ID alone
// it is the environment variable of that name, or else the file.
func parseSecrets(values []string, warn io.Writer) (map[string]host.Secret, error) {
	secrets := map[string]host.Secret{}
	for _, v := range values {
		id, s, err := parseSecret(v)
		if err != nil {
			return nil, usageError{err}
		}
		if _, ok := secrets[id]; ok {
			return nil, usageError{fmt.Errorf("--secret: the ID %q is given twice", id)}
		}
		if _, set := os.LookupEnv(s.Env); s.Env != "" && !set {
			fmt.Fprintf(warn, "trowel: warning: --secret id=%s: the environment variable %s is not set: the secret is empty\n", id, s.Env)
		}
		secrets[id] = s
	}
	return secrets, nil
}

const secretForm = "write id=ID,src=FILE or id=ID,env=NAME"

func parseSecret(text string) (id string, s host.Secret, err error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		// The text is not shown: a user may have put the secret itself there.
		return "", s, hinted{errors.New("--secret: want one line of key=value pairs, separated by commas"), secretForm}
	}
	kind := ""
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return "", s, hinted{errors.New("--secret: it has a field that is no key=value pair"), secretForm}
		}
		switch strings.ToLower(key) {
		case "id":
			id = value
		case "src", "source":
			s.File = value
		case "env":
			s.Env = value
		case "type":
			if kind = value; kind != "file" && kind != "env" {
				return "", s, hinted{fmt.Errorf("--secret: type %q: want file or env", kind), secretForm}
			}
		default:
			return "", s, hinted{fmt.Errorf("--secret: unknown key %q", key), secretForm}
		}
	}
	if kind == "env" && s.Env == "" { // as buildx: src names the variable then
		s.Env, s.File = s.File, ""
	}
	switch {
	case id == "":
		return "", s, hinted{errors.New("--secret: it has no ID"), secretForm}
	case s.Env != "" && s.File != "":
		return "", s, hinted{fmt.Errorf("--secret id=%s: it has both a file and a variable", id), secretForm}
	case s.Env != "" || s.File != "":
		return id, s, nil
	}
	if _, set := os.LookupEnv(id); kind == "env" || kind == "" && set {
		s.Env = id
	} else {
		s.File = id
	}
	return id, s, nil
}

// parseSSH reads --ssh, in the syntax of buildx: "default", "ID", "ID=SOCKET" or "ID=KEY,KEY". Without a path it is the
// agent of SSH_AUTH_SOCK.
func (p program) parseSSH(values []string) (map[string][]string, error) {
	agents := map[string][]string{}
	for _, v := range values {
		id, paths, named := strings.Cut(v, "=")
		if id == "" {
			id = host.DefaultSSH
		}
		if _, ok := agents[id]; ok {
			return nil, usageError{fmt.Errorf("--ssh: the ID %q is given twice", id)}
		}
		if !named || paths == "" {
			if paths = p.getenv("SSH_AUTH_SOCK"); paths == "" {
				return nil, usageError{hinted{
					fmt.Errorf("--ssh %s: there is no agent: SSH_AUTH_SOCK is not set", id), "start ssh-agent, or name a key: --ssh " + id + "=FILE",
				}}
			}
			agents[id] = []string{paths}
			continue
		}
		agents[id] = strings.Split(paths, ",")
	}
	return agents, nil
}
