package link

import (
	"crypto/subtle"
	"errors"
	"fmt"
)

// protocolVersion is that of the frames and of the handshake.
const protocolVersion = 1

// maxText bounds each text of a handshake, in bytes.
const maxText = 128

// Hello is what a host presents to open a session.
type Hello struct {
	// Token is the boot's secret: random, made anew for each boot.
	Token [16]byte
	// MachineID names the machine: 1 to 128 printable ASCII characters.
	MachineID string
}

// String keeps the token out of logs and error texts.
func (h Hello) String() string { return "hello for machine " + h.MachineID }

// GoString is String, for %#v.
func (h Hello) GoString() string { return h.String() }

// equal compares the token in constant time.
func (h Hello) equal(other Hello) bool {
	return subtle.ConstantTimeCompare(h.Token[:], other.Token[:]) == 1 && h.MachineID == other.MachineID
}

func (h Hello) marshal() []byte {
	b := append([]byte{protocolVersion}, h.Token[:]...)
	return appendText(b, h.MachineID)
}

// errVersion: the peer speaks another version of the protocol.
var errVersion = errors.New("unknown protocol version")

func parseHello(b []byte) (Hello, error) {
	var h Hello
	if len(b) < 1+len(h.Token) {
		return Hello{}, fmt.Errorf("parse hello of %d bytes: too short", len(b))
	}
	if b[0] != protocolVersion {
		return Hello{}, fmt.Errorf("parse hello of version %d: %w", b[0], errVersion)
	}
	copy(h.Token[:], b[1:])
	id, rest, err := cutText(b[1+len(h.Token):])
	if err != nil || id == "" || len(rest) > 0 {
		return Hello{}, errors.New("parse hello: malformed machine id")
	}
	h.MachineID = id
	return h, nil
}

// ack is what the guest answers.
type ack struct {
	bootID, agentVersion string
}

func (a ack) marshal() []byte {
	return appendText(appendText([]byte{protocolVersion}, a.bootID), a.agentVersion)
}

func parseAck(b []byte) (ack, error) {
	if len(b) == 0 || b[0] != protocolVersion {
		return ack{}, fmt.Errorf("parse answer to hello: %w", errVersion)
	}
	boot, rest, err := cutText(b[1:])
	if err != nil {
		return ack{}, fmt.Errorf("parse answer to hello: boot id: %w", err)
	}
	version, rest, err := cutText(rest)
	if err != nil || len(rest) > 0 {
		return ack{}, errors.New("parse answer to hello: malformed agent version")
	}
	return ack{bootID: boot, agentVersion: version}, nil
}

// refusal says why a guest refuses a Hello.
type refusal uint8

const (
	refusedVersion refusal = iota + 1
	refusedToken
	refusedMalformed
)

func (r refusal) String() string {
	switch r {
	case refusedVersion:
		return "the guest speaks another version of the link protocol"
	case refusedToken:
		return "wrong token or machine id for this boot"
	case refusedMalformed:
		return "malformed hello"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// validText tells whether s may travel in a handshake: printable ASCII, bounded.
func validText(s string) bool {
	if len(s) > maxText {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// appendText appends s with its length in a byte before it.
func appendText(b []byte, s string) []byte {
	return append(append(b, byte(len(s))), s...)
}

// cutText is the reverse of appendText; what it returns is printable ASCII.
func cutText(b []byte) (string, []byte, error) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, errors.New("text is cut short")
	}
	s := string(b[1 : 1+int(b[0])])
	if !validText(s) {
		return "", nil, errors.New("text is too long or not printable")
	}
	return s, b[1+len(s):], nil
}
