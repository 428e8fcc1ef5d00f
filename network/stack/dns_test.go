package stack

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/firkin-dev/firkin-reconcile/network"
)

// resolver is how a program in the guest looks names up.
func (g *guest) resolver(proto string) *net.Resolver {
	at := netip.AddrPortFrom(network.Gateway(), 53)
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, asked, _ string) (net.Conn, error) {
		if strings.HasPrefix(asked, "tcp") || proto == "tcp" {
			return g.dial(ctx, at)
		}
		return g.dialUDP(at), nil
	}}
}

// server is a resolver of the host's: it knows www.example.org, and big.example.org is too
// long for a packet.
func resolverOfHost(t *testing.T, h *host) {
	t.Helper()
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns := listenTCP(t)
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		b := make([]byte, 4096)
		for {
			n, from, err := packets.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo(hostAnswer(b[:n], false), from)
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			c, err := conns.Accept()
			if err != nil {
				return
			}
			if b, err := readMessage(c); err == nil {
				_ = writeMessage(c, hostAnswer(b, true))
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = packets.Close()
		_ = conns.Close()
		<-done
		<-done
	})
	h.put("udp", "127.0.0.53:53", packets.LocalAddr().String())
	h.put("tcp", "127.0.0.53:53", conns.Addr().String())
	if err := os.WriteFile(h.resolv, []byte("nameserver 127.0.0.53\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func hostAnswer(b []byte, stream bool) []byte {
	q, err := parseQuery(b)
	if err != nil {
		return nil
	}
	switch {
	case q.name == "big.example.org" && !stream:
		r := q.reply(dnsmessage.RCodeSuccess)
		r[2] |= 2 // truncated
		return r
	case !strings.HasSuffix(q.name, ".example.org"):
		return q.reply(dnsmessage.RCodeNameError)
	case q.question.Type != dnsmessage.TypeA:
		return q.reply(dnsmessage.RCodeSuccess)
	}
	return q.reply(dnsmessage.RCodeSuccess, netip.MustParseAddr("192.0.2.80"))
}

func TestNames(t *testing.T) {
	h := newHost(t)
	resolverOfHost(t, h)
	web, db := h.machine("web", Options{}), h.machine("db", Options{})
	for _, proto := range []string{"udp", "tcp"} {
		r := web.resolver(proto)
		for name, want := range map[string]string{
			"db.default.": db.addr.String(), "DB.Default.": db.addr.String(), "db.": db.addr.String(), "web.": web.addr.String(),
			"www.example.org.": "192.0.2.80", "big.example.org.": "192.0.2.80",
		} {
			got, err := r.LookupHost(ctxOf(t), name)
			if err != nil || !slices.Equal(got, []string{want}) {
				t.Errorf("%s by %s: %q, %v; want %s", name, proto, got, err, want)
			}
		}
		for _, name := range []string{"nobody.default.", "nobody.", "nobody.example.com."} {
			_, err := r.LookupHost(ctxOf(t), name)
			if dns, ok := err.(*net.DNSError); !ok || !dns.IsNotFound { //nolint:errorlint // the resolver's own
				t.Errorf("%s by %s: %v", name, proto, err)
			}
		}
		if names, err := r.LookupAddr(ctxOf(t), db.addr.String()); err == nil {
			t.Errorf("names of %s: %q", db.addr, names)
		}
	}
}

func TestNamesWithoutResolvers(t *testing.T) {
	h := newHost(t)
	web := h.machine("web", Options{})
	r := web.resolver("udp")
	if got, err := r.LookupHost(ctxOf(t), "web.default."); err != nil || !slices.Equal(got, []string{web.addr.String()}) {
		t.Errorf("own name: %q, %v", got, err)
	}
	for name, found := range map[string]bool{"nobody.default.": false, "nobody.": false, "www.example.org.": true} {
		_, err := r.LookupHost(ctxOf(t), name)
		dns, ok := err.(*net.DNSError) //nolint:errorlint // the resolver's own
		if !ok || dns.IsNotFound == found {
			t.Errorf("%s: %v", name, err)
		}
	}
	// They may come later.
	resolverOfHost(t, h)
	if err := os.Chtimes(h.resolv, time.Now(), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if got, err := r.LookupHost(ctxOf(t), "www.example.org."); err != nil || !slices.Equal(got, []string{"192.0.2.80"}) {
		t.Errorf("later: %q, %v", got, err)
	}
}

// FuzzAnswer holds that any question for a machine gets a well-formed answer to itself.
func FuzzAnswer(f *testing.F) {
	addr := network.Machine(7)
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypePTR, dnsmessage.TypeALL} {
		b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 7, RecursionDesired: true})
		_ = b.StartQuestions()
		_ = b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName("Web.default."), Type: kind, Class: dnsmessage.ClassINET})
		message, err := b.Finish()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(message)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		q, err := parseQuery(message)
		if err != nil {
			return
		}
		reply := q.local("default", func(name string) (netip.Addr, bool) { return addr, strings.HasPrefix(name, "web.") })
		if reply != nil && !q.answeredBy(reply) {
			t.Errorf("question %x: answer %x", message, reply)
		}
		if reply := q.reply(dnsmessage.RCodeServerFailure); !q.answeredBy(reply) {
			t.Errorf("question %x: refusal %x", message, reply)
		}
	})
}
