package remote

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

const (
	// card is what a machine's only network card is called by the kernel, unless somebody renames it.
	card = "eth0"
	// cardWait bounds the wait for it: its driver may just have been loaded.
	cardWait = 5 * time.Second
	cardPoll = 20 * time.Millisecond
)

// setNetwork sets the network card up, when there is an address for it.
func (r *Runtime) setNetwork(ctx context.Context, s *session, n *agentpb.NetworkConfig) error {
	if n.GetAddress() == "" {
		return nil
	}
	if err := s.waitCard(ctx); err != nil {
		return failed(err, "set network up")
	}
	if err := r.checkMAC(ctx, n.GetMac()); err != nil {
		return err
	}
	// The network speaks IPv4; a guest without IPv6 has no such setting.
	_, err := s.Sysctl(ctx, &sandboxpb.SysctlRequest{Settings: map[string]string{"net.ipv6.conf." + card + ".disable_ipv6": "1"}})
	if err != nil {
		r.opt.Log.V(1).Info("IPv6 not turned off", "cause", err.Error())
	}
	if _, err := s.IpLinkSet(ctx, &sandboxpb.IpLinkSetRequest{Interface: card, Up: true}); err != nil {
		return failed(err, "bring %s up", card)
	}
	_, err = s.IpAddrAdd(ctx, &sandboxpb.IpAddrAddRequest{Interface: card, Ipv4Address: n.GetAddress()})
	if err = unless(err, codes.AlreadyExists); err != nil {
		return failed(err, "give %s address %s", card, n.GetAddress())
	}
	_, err = s.IpRouteAddDefault(ctx, &sandboxpb.IpRouteAddDefaultRequest{Interface: card, Ipv4Gateway: n.GetGateway()})
	return failed(unless(err, codes.AlreadyExists), "route by %s", n.GetGateway())
}

func (s *session) waitCard(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, cardWait, fmt.Errorf("%w: there is no %s after %v", context.DeadlineExceeded, card, cardWait))
	defer cancel()
	for {
		there, err := s.exists(ctx, "/sys/class/net/"+card)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if there || err != nil {
			return err
		}
		select {
		case <-time.After(cardPoll):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// checkMAC refuses a card that would need another hardware address: that of a machine copied from
// another's memory is the other's.
func (r *Runtime) checkMAC(ctx context.Context, want string) error {
	if want == "" {
		return nil
	}
	text, err := r.read(ctx, "/sys/class/net/"+card+"/address", 64)
	if err != nil {
		return failed(err, "read hardware address of %s", card)
	}
	if has := strings.TrimSpace(string(text)); !strings.EqualFold(has, want) {
		return refuse("hardware address %s for %s, which has %.40q", want, card, has)
	}
	return nil
}
