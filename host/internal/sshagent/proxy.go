package sshagent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/crypto/ssh/agent"
)

// What of the agent protocol (RFC draft-miller-ssh-agent, section 5.1) a build may use.
const (
	messageFailure     = 5
	messageListKeys    = 11
	messageSignRequest = 13

	// maxMessage is that of OpenSSH.
	maxMessage = 256 << 10
)

// answer serves one connection.
func (s *server) answer(ctx context.Context, id string, conn net.Conn) {
	defer s.forget(conn)
	if !s.track(conn) {
		return
	}
	asked, err := s.dial(ctx)
	if err != nil {
		s.warn(&Error{ID: id, Err: err})
		return
	}
	defer s.forget(asked)
	if s.track(asked) {
		_ = proxy(conn, asked) // it ends when one of them hangs up
	}
}

// dial connects to the agent.
func (s *server) dial(ctx context.Context) (net.Conn, error) {
	if s.socket != "" {
		dialer := net.Dialer{Timeout: dialTimeout}
		return dialer.DialContext(ctx, "unix", s.socket)
	}
	here, there := net.Pipe()
	s.running.Go(func() {
		_ = agent.ServeAgent(s.keys, there) // it ends when the process hangs up
		_ = there.Close()
	})
	return here, nil
}

// proxy passes on what lists keys and signs. To all else, which would change the agent or tell it whom to trust, the
// answer is that it failed.
func proxy(client, real io.ReadWriter) error {
	for {
		request, err := readMessage(client)
		if err != nil {
			return err
		}
		answer := []byte{messageFailure}
		if kind := request[0]; kind == messageListKeys || kind == messageSignRequest {
			if err := writeMessage(real, request); err != nil {
				return err
			}
			if answer, err = readMessage(real); err != nil {
				return err
			}
		}
		if err := writeMessage(client, answer); err != nil {
			return err
		}
	}
}

// readMessage reads a message without its length.
func readMessage(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size == 0 || size > maxMessage {
		return nil, fmt.Errorf("message of %d bytes: %w", size, errors.ErrUnsupported)
	}
	message := make([]byte, size)
	_, err := io.ReadFull(r, message)
	return message, err
}

func writeMessage(w io.Writer, message []byte) error {
	out := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(message)), uint32(len(message)))
	_, err := w.Write(append(out, message...))
	return err
}
