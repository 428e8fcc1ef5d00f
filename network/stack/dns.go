package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"github.com/firkin-dev/firkin-reconcile/network"
)

const (
	// maxQueries bounds the questions that are worked on at a time, maxNameConns the
	// connections that bring them.
	maxQueries   = 64
	maxNameConns = 16
	// nameConnIdle is how long such a connection may be silent.
	nameConnIdle = 10 * time.Second
	// maxUDPQuery is the largest question, in bytes; a name has at most 255.
	maxUDPQuery = 4096
)

// names is the gateway's name server: machines' names are answered here, all else by the
// host's resolvers.
type names struct {
	s        *Stack
	upstream *upstream
	queries  slots
	conns    slots
}

func (s *Stack) serveNames() error {
	n := &names{
		s: s, queries: make(slots, maxQueries), conns: make(slots, maxNameConns),
		upstream: &upstream{path: s.opt.ResolvConf, port: dnsPort, dial: s.opt.Dial},
	}
	at := tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(network.Gateway().As4()), Port: dnsPort}
	packets, err := gonet.DialUDP(s.stack, &at, nil, ipv4.ProtocolNumber)
	if err != nil {
		return fmt.Errorf("serve names: %w", err)
	}
	s.onClose(packets.Close)
	listener, err := gonet.ListenTCP(s.stack, at, ipv4.ProtocolNumber)
	if err != nil {
		return fmt.Errorf("serve names: %w", err)
	}
	s.onClose(listener.Close)
	s.run(func() { n.servePackets(packets) })
	s.run(func() { n.serveConns(listener) })
	return nil
}

func (n *names) servePackets(conn *gonet.UDPConn) {
	b := make([]byte, maxUDPQuery)
	for {
		size, from, err := conn.ReadFrom(b)
		if err != nil {
			if n.s.ctx.Err() != nil {
				return
			}
			if n.s.pause() != nil {
				return
			}
			continue
		}
		if !n.queries.take() {
			continue // lost; the guest asks again
		}
		message := append([]byte(nil), b[:size]...)
		if !n.s.run(func() {
			defer n.queries.give()
			if reply := n.answer("udp", message); reply != nil {
				_, _ = conn.WriteTo(reply, from) // lost; the guest asks again
			}
		}) {
			return
		}
	}
}

func (n *names) serveConns(l *gonet.TCPListener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			if n.s.ctx.Err() != nil || n.s.pause() != nil {
				return
			}
			continue
		}
		if !n.conns.take() {
			_ = conn.Close()
			continue
		}
		if !n.s.run(func() { defer n.conns.give(); n.serveConn(conn) }) {
			_ = conn.Close()
			return
		}
	}
}

// serveConn answers the questions of one connection, one after the other.
func (n *names) serveConn(conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(n.s.ctx, func() { _ = conn.Close() })
	defer stop()
	for {
		if err := conn.SetDeadline(time.Now().Add(nameConnIdle)); err != nil {
			return
		}
		message, err := readMessage(conn)
		if err != nil {
			return
		}
		reply := n.answer("tcp", message)
		if reply == nil {
			return
		}
		if err := writeMessage(conn, reply); err != nil {
			return
		}
	}
}

// answer answers a question; nil when it is none.
func (n *names) answer(proto string, message []byte) []byte {
	q, err := parseQuery(message)
	if err != nil {
		return nil
	}
	if reply := q.local(n.s.opt.Domain, n.s.opt.Peers.Lookup); reply != nil {
		return reply
	}
	reply, err := n.upstream.ask(n.s.ctx, proto, q, message)
	if errors.Is(err, errNoResolver) && q.within(n.s.opt.Domain) {
		return q.reply(dnsmessage.RCodeNameError) // nobody else could know it
	}
	if err != nil {
		// The name stays out of the log: what a pod looks up is its own business.
		n.s.opt.Log.V(1).Info("question not answered", "cause", err.Error())
		return q.reply(dnsmessage.RCodeServerFailure)
	}
	return reply
}
