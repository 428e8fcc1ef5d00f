package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// findLink finds a network interface, whose driver may have to be loaded first.
func (s *Sandbox) findLink(ctx context.Context, name string) (netlink.Link, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	link, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, fmt.Errorf("%w: %w", agent.ErrNotFound, err)
	}
	return link, err
}

// onLink does something with an interface.
func (s *Sandbox) onLink(ctx context.Context, name, what string, do func(netlink.Link) error) error {
	link, err := s.findLink(ctx, name)
	if err == nil {
		err = do(link)
	}
	return failure(err, "%s %s", what, name)
}

// IpLinkSet implements sandboxpb.SandboxContextServer.
func (s Service) IpLinkSet(ctx context.Context, req *sandboxpb.IpLinkSetRequest) (*sandboxpb.IpLinkSetResponse, error) { //nolint:revive,staticcheck // named by the contract
	err := s.onLink(ctx, req.GetInterface(), "set up interface", func(link netlink.Link) error {
		if req.Mtu != nil {
			if err := netlink.LinkSetMTU(link, int(req.GetMtu())); err != nil {
				return fmt.Errorf("set mtu: %w", err)
			}
		}
		if req.GetUp() {
			return netlink.LinkSetUp(link)
		}
		return netlink.LinkSetDown(link)
	})
	if err != nil {
		return nil, err
	}
	return &sandboxpb.IpLinkSetResponse{}, nil
}

// IpAddrAdd implements sandboxpb.SandboxContextServer. An address that is there is AlreadyExists.
func (s Service) IpAddrAdd(ctx context.Context, req *sandboxpb.IpAddrAddRequest) (*sandboxpb.IpAddrAddResponse, error) { //nolint:revive,staticcheck // named by the contract
	err := s.onLink(ctx, req.GetInterface(), "add address to", func(link netlink.Link) error {
		var addrs []*netlink.Addr
		for _, text := range texts(req.GetIpv4Address(), req.GetIpv6Address()) {
			addr, err := netlink.ParseAddr(text)
			if err != nil {
				return invalid("%v", err)
			}
			addrs = append(addrs, addr)
		}
		if len(addrs) == 0 {
			return invalid("no address")
		}
		for _, addr := range addrs {
			if err := netlink.AddrAdd(link, addr); err != nil {
				return fmt.Errorf("%s: %w", addr, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &sandboxpb.IpAddrAddResponse{}, nil
}

// IpRouteAddLink implements sandboxpb.SandboxContextServer.
func (s Service) IpRouteAddLink(ctx context.Context, req *sandboxpb.IpRouteAddLinkRequest) (*sandboxpb.IpRouteAddLinkResponse, error) { //nolint:revive,staticcheck // named by the contract
	err := s.onLink(ctx, req.GetInterface(), "add route by", func(link netlink.Link) error {
		var routes []*netlink.Route
		for _, r := range [][2]string{{req.GetDstIpv4Addr(), req.GetSrcIpv4Addr()}, {req.GetDstIpv6Addr(), req.GetSrcIpv6Addr()}} {
			if r[0] == "" {
				continue
			}
			route, err := linkRoute(link, r[0], r[1])
			if err != nil {
				return err
			}
			routes = append(routes, route)
		}
		return addRoutes(routes)
	})
	if err != nil {
		return nil, err
	}
	return &sandboxpb.IpRouteAddLinkResponse{}, nil
}

// linkRoute is the route to a destination, an address or a network, that is on the link.
func linkRoute(link netlink.Link, destination, source string) (*netlink.Route, error) {
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK}
	if ip := net.ParseIP(destination); ip != nil {
		route.Dst = netlink.NewIPNet(ip)
	} else {
		_, network, err := net.ParseCIDR(destination)
		if err != nil {
			return nil, invalid("%v", err)
		}
		route.Dst = network
	}
	if source == "" {
		return route, nil
	}
	if route.Src = parseIP(source); route.Src == nil {
		return nil, invalid("source %q is not an address", source)
	}
	return route, nil
}

// IpRouteAddDefault implements sandboxpb.SandboxContextServer.
func (s Service) IpRouteAddDefault(ctx context.Context, req *sandboxpb.IpRouteAddDefaultRequest) (*sandboxpb.IpRouteAddDefaultResponse, error) { //nolint:revive,staticcheck // named by the contract
	err := s.onLink(ctx, req.GetInterface(), "add default route by", func(link netlink.Link) error {
		var routes []*netlink.Route
		for _, text := range texts(req.GetIpv4Gateway(), req.GetIpv6Gateway()) {
			gateway := parseIP(text)
			if gateway == nil {
				return invalid("gateway %q is not an address", text)
			}
			routes = append(routes, &netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway})
		}
		return addRoutes(routes)
	})
	if err != nil {
		return nil, err
	}
	return &sandboxpb.IpRouteAddDefaultResponse{}, nil
}

func addRoutes(routes []*netlink.Route) error {
	if len(routes) == 0 {
		return invalid("no address")
	}
	for _, route := range routes {
		if err := netlink.RouteAdd(route); err != nil {
			return err
		}
	}
	return nil
}

// parseIP is the address of "10.0.0.1" or "10.0.0.1/24"; nil when it is none.
func parseIP(text string) net.IP {
	if ip, _, err := net.ParseCIDR(text); err == nil {
		return ip
	}
	return net.ParseIP(text)
}

// texts are those that are not empty.
func texts(all ...string) []string {
	var list []string
	for _, t := range all {
		if t != "" {
			list = append(list, t)
		}
	}
	return list
}
