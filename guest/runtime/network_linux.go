package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

const (
	// cardWait bounds the wait for the network card, whose driver may just have been loaded.
	cardWait = 5 * time.Second
	cardPoll = 3 * time.Millisecond
)

var errNoCard = errors.New("there is no network card")

// setNetwork sets the network card up, when there is an address for it. What is as it
// should be is left alone.
func setNetwork(ctx context.Context, n *agentpb.NetworkConfig) error {
	if n.GetAddress() == "" {
		return nil
	}
	card, err := waitCard(ctx)
	if err == nil {
		err = setCard(card, n)
	}
	if err != nil {
		return fmt.Errorf("set network up: %w", err)
	}
	return nil
}

// waitCard waits for the machine's network card: the first link that is no loopback.
func waitCard(ctx context.Context) (netlink.Link, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, cardWait, fmt.Errorf("%w after %s", errNoCard, cardWait))
	defer cancel()
	var card netlink.Link
	err := poll(ctx, cardPoll, func() (bool, error) {
		links, err := netlink.LinkList()
		if err != nil {
			return false, fmt.Errorf("list network cards: %w", err)
		}
		for _, l := range links {
			if a := l.Attrs(); l.Type() == "device" && a.EncapType == "ether" && a.Flags&net.FlagLoopback == 0 {
				card = l
				return true, nil
			}
		}
		return false, nil
	})
	return card, err
}

// setCard gives the card its addresses and makes it the way to everywhere.
func setCard(card netlink.Link, n *agentpb.NetworkConfig) error {
	addr, err := netlink.ParseAddr(n.GetAddress())
	if err != nil {
		return fmt.Errorf("address %q: %w", n.GetAddress(), err)
	}
	gateway := net.ParseIP(n.GetGateway())
	if gateway == nil {
		return fmt.Errorf("gateway %q is not an address", n.GetGateway())
	}
	if err := setMAC(card, n.GetMac()); err != nil {
		return err
	}
	if err := cardUp(card); err != nil {
		return err
	}
	name := card.Attrs().Name
	if err := netlink.AddrReplace(card, addr); err != nil {
		return fmt.Errorf("give %s address %s: %w", name, n.GetAddress(), err)
	}
	route := &netlink.Route{LinkIndex: card.Attrs().Index, Gw: gateway}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("route by %s: %w", n.GetGateway(), err)
	}
	return nil
}

// cardUp brings the card up, if it is not.
func cardUp(card netlink.Link) error {
	if card.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	name := card.Attrs().Name
	// The network speaks IPv4; a link-local address would only make IPv6 look usable.
	err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("turn IPv6 off on %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(card); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}

// setMAC gives the card its hardware address: that of a machine copied from another's
// memory is the other's.
func setMAC(card netlink.Link, mac string) error {
	if mac == "" {
		return nil
	}
	want, err := net.ParseMAC(mac)
	if err != nil {
		return fmt.Errorf("hardware address: %w", err)
	}
	if bytes.Equal(card.Attrs().HardwareAddr, want) {
		return nil
	}
	if err := netlink.LinkSetHardwareAddr(card, want); err != nil {
		return fmt.Errorf("give %s hardware address %s: %w", card.Attrs().Name, mac, err)
	}
	return nil
}
