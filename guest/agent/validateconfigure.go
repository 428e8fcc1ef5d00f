package agent

import (
	"math"
	"net"
	"net/netip"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// maxNames bounds each list of a pod's settings: sysctls, name servers, hosts and their names.
const maxNames = 1024

func checkConfigure(req *agentpb.ConfigureRequest) error {
	p := req.GetPod()
	if err := checkName("pod uid", p.GetUid(), maxName); err != nil {
		return err
	}
	if err := checkName("pod namespace", p.GetNamespace(), maxName); err != nil {
		return err
	}
	if err := checkName("pod name", p.GetName(), maxPodName); err != nil {
		return err
	}
	if err := checkText("pod source", p.GetSource(), maxPath); err != nil {
		return err
	}
	if err := checkText("vm digest", p.GetVmDigest(), maxText); err != nil {
		return err
	}
	if req.GetHostname() != "" {
		if err := checkName("host name", req.GetHostname(), maxPodName); err != nil {
			return err
		}
	}
	if req.GetFsGroup() < 0 || req.GetFsGroup() >= math.MaxUint32 {
		return invalid("group of volumes %d is not within 0 and %d", req.GetFsGroup(), math.MaxUint32-1)
	}
	if err := checkTime("grace", req.GetGrace()); err != nil {
		return err
	}
	if err := checkSysctls(req.GetSysctls()); err != nil {
		return err
	}
	if err := checkNetwork(req.GetNetwork()); err != nil {
		return err
	}
	return checkManifest("pod manifest", p.GetManifest())
}

func checkSysctls(list []*agentpb.Sysctl) error {
	if len(list) > maxNames {
		return invalid("%d sysctls, more than %d", len(list), maxNames)
	}
	for _, s := range list {
		if s.GetName() == "" {
			return invalid("sysctl has no name")
		}
		if err := checkText("sysctl name", s.GetName(), maxText); err != nil {
			return err
		}
		if err := checkText("sysctl "+s.GetName(), s.GetValue(), maxText); err != nil {
			return err
		}
	}
	return nil
}

// checkNetwork demands addresses where there must be some; what they mean is the runtime's.
func checkNetwork(n *agentpb.NetworkConfig) error {
	if a := n.GetAddress(); a != "" {
		if _, err := netip.ParsePrefix(a); err != nil {
			return invalid("network address: %v", err)
		}
	}
	if g := n.GetGateway(); g != "" {
		if _, err := netip.ParseAddr(g); err != nil {
			return invalid("gateway: %v", err)
		}
	}
	if m := n.GetMac(); m != "" {
		if _, err := net.ParseMAC(m); err != nil {
			return invalid("hardware address: %v", err)
		}
	}
	for what, list := range map[string][]string{
		"name servers": n.GetNameservers(), "search domains": n.GetSearches(), "resolver options": n.GetOptions(), "domain": {n.GetFqdn()},
	} {
		if err := checkNames(what, list); err != nil {
			return err
		}
	}
	if len(n.GetHosts()) > maxNames {
		return invalid("%d hosts, more than %d", len(n.GetHosts()), maxNames)
	}
	for _, h := range n.GetHosts() {
		if _, err := netip.ParseAddr(h.GetIp()); err != nil {
			return invalid("host: %v", err)
		}
		if err := checkNames("names of host "+h.GetIp(), h.GetHostnames()); err != nil {
			return err
		}
	}
	return nil
}

func checkNames(what string, list []string) error {
	if len(list) > maxNames {
		return invalid("%d %s, more than %d", len(list), what, maxNames)
	}
	for _, s := range list {
		if err := checkText(what, s, maxText); err != nil {
			return err
		}
	}
	return nil
}
