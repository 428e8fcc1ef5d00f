package stack

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/firkin-dev/firkin-reconcile/driver/unixsock"
)

const (
	// maxPeers bounds the sockets to other machines that are kept open.
	maxPeers = 256
	// peerIdle is how long one is kept without use.
	peerIdle = time.Minute
	// peerWait is how long a frame waits for a machine whose queue is full (Linux lets as
	// few as ten messages wait). A machine that does not take one within it gets the next
	// ones only while it has room.
	peerWait = 20 * time.Millisecond
)

// peers sends frames to other machines. It is for one goroutine.
type peers struct {
	socket func(netip.Addr) string
	open   map[netip.Addr]*peer
}

type peer struct {
	conn    *net.UnixConn
	raw     syscall.RawConn
	used    time.Time
	stalled bool
}

// send sends a frame to the machine with that address. One that cannot be sent is lost.
func (p *peers) send(addr netip.Addr, b []byte) {
	now := time.Now()
	to := p.open[addr]
	if to == nil {
		if to = p.dial(addr, now); to == nil {
			return
		}
	}
	to.used = now
	if err := to.send(now, b); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, syscall.ENOBUFS) {
		// It is gone; should there be another under the address, the next frame finds it.
		p.hangUp(addr)
	}
}

func (to *peer) send(now time.Time, b []byte) error {
	wait := !to.stalled
	if wait {
		if err := to.conn.SetWriteDeadline(now.Add(peerWait)); err != nil {
			return err
		}
	} else if err := to.conn.SetWriteDeadline(time.Time{}); err != nil {
		return err
	}
	var sent error
	err := to.raw.Write(func(fd uintptr) bool {
		_, sent = syscall.Write(int(fd), b)
		return !wait || !errors.Is(sent, syscall.EAGAIN)
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		to.stalled = true
		return err
	case err != nil:
		return err
	case errors.Is(sent, syscall.EAGAIN):
		return os.ErrDeadlineExceeded
	}
	to.stalled = false
	return sent
}

func (p *peers) dial(addr netip.Addr, now time.Time) *peer {
	p.tidy(now)
	conn, err := unixsock.DialPacket(p.socket(addr))
	if err != nil {
		return nil // there is no such machine, or it is down
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		_ = conn.Close()
		return nil
	}
	to := &peer{conn: conn, raw: raw}
	p.open[addr] = to
	return to
}

// tidy closes what was not used for long, and makes room for one more.
func (p *peers) tidy(now time.Time) {
	var oldest netip.Addr
	for addr, to := range p.open {
		if now.Sub(to.used) > peerIdle {
			p.hangUp(addr)
		} else if !oldest.IsValid() || to.used.Before(p.open[oldest].used) {
			oldest = addr
		}
	}
	if len(p.open) >= maxPeers {
		p.hangUp(oldest)
	}
}

func (p *peers) hangUp(addr netip.Addr) {
	if to := p.open[addr]; to != nil {
		_ = to.conn.Close() // nothing is held back in it
		delete(p.open, addr)
	}
}

func (p *peers) close() {
	for addr := range p.open {
		p.hangUp(addr)
	}
}
