package stack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// upstreamLimit bounds one question to one of the host's resolvers, queryLimit all of
	// them; guests' resolvers wait for 5 s.
	upstreamLimit = 2 * time.Second
	queryLimit    = 4500 * time.Millisecond
	// maxMessage is the largest DNS message.
	maxMessage = 65535
	dnsPort    = 53
)

var errNoResolver = errors.New("the host has no resolver")

// upstream asks the host's resolvers. They are asked by this process, so one that only
// the host reaches (127.0.0.53) does.
type upstream struct {
	path string
	port uint16
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu      sync.Mutex
	read    os.FileInfo // of the file as it was when it was read
	servers []netip.AddrPort
}

// resolvers are those that the file names now.
func (u *upstream) resolvers() ([]netip.AddrPort, error) {
	info, err := os.Stat(u.path)
	if err != nil {
		return nil, fmt.Errorf("find the host's resolvers: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.read != nil && os.SameFile(info, u.read) && info.ModTime().Equal(u.read.ModTime()) && info.Size() == u.read.Size() {
		return u.servers, nil
	}
	text, err := os.ReadFile(u.path)
	if err != nil {
		return nil, fmt.Errorf("find the host's resolvers: %w", err)
	}
	u.read, u.servers = info, nil
	for _, addr := range nameservers(string(text)) {
		u.servers = append(u.servers, netip.AddrPortFrom(addr, u.port))
	}
	return u.servers, nil
}

// ask passes a question on, over "udp" or "tcp", and returns the first answer.
func (u *upstream) ask(ctx context.Context, proto string, q query, message []byte) ([]byte, error) {
	servers, err := u.resolvers()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	err = errNoResolver
	for _, server := range servers {
		var answer []byte
		if answer, err = u.askOne(ctx, proto, server, q, message); err == nil {
			return answer, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

func (u *upstream) askOne(ctx context.Context, proto string, server netip.AddrPort, q query, message []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, upstreamLimit)
	defer cancel()
	conn, err := u.dial(ctx, proto, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if proto == "tcp" {
		if err := writeMessage(conn, message); err != nil {
			return nil, err
		}
		return readMessage(conn)
	}
	if _, err := conn.Write(message); err != nil {
		return nil, err
	}
	b := make([]byte, maxMessage)
	for {
		n, err := conn.Read(b)
		if err != nil {
			return nil, err
		}
		if q.answeredBy(b[:n]) {
			return b[:n], nil
		}
	}
}

// answeredBy tells whether the message answers the question, not another one.
func (q query) answeredBy(b []byte) bool {
	var p dnsmessage.Parser
	header, err := p.Start(b)
	if err != nil || !header.Response || header.ID != q.header.ID {
		return false
	}
	question, err := p.Question()
	if err != nil {
		return header.RCode != dnsmessage.RCodeSuccess // an error may come without it
	}
	return question == q.question
}

// writeMessage writes a message to a stream, its length before it.
func writeMessage(w io.Writer, message []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
	return err
}

func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}
