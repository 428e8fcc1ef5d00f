package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const secured = `
apiVersion: v1
kind: Pod
metadata: {name: sec}
spec:
  terminationGracePeriodSeconds: 1
  shareProcessNamespace: true
  securityContext:
    sysctls: [{name: net.ipv4.ip_local_port_range, value: "20000 30000"}]
    supplementalGroups: [4321]
  containers:
  - name: usual
    image: $BUSYBOX
    command: [sleep, "1000000"]
    volumeMounts: [{name: box, mountPath: /box, mountPropagation: HostToContainer}]
  - name: user
    image: $BUSYBOX
    command: [sleep, "1000000"]
    securityContext:
      runAsUser: 1000
      runAsGroup: 3000
      runAsNonRoot: true
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}
  - name: all
    image: $BUSYBOX
    command: [sleep, "1000000"]
    securityContext: {privileged: true}
    volumeMounts: [{name: box, mountPath: /box, mountPropagation: Bidirectional}]
  - name: profile
    image: $BUSYBOX
    command: [sleep, "1000000"]
    securityContext: {seccompProfile: {type: Localhost, localhostProfile: .seccomp/no-mkdir.json}}
  - name: free
    image: $BUSYBOX
    command: [sleep, "1000000"]
    securityContext: {seccompProfile: {type: Unconfined}}
  volumes: [{name: box, emptyDir: {}}]
`

const rootless = `
apiVersion: v1
kind: Pod
metadata: {name: rootless}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true}
  containers:
  - {name: main, image: $BUSYBOX, command: [sleep, "1000000"]}
`

const noMkdir = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}`

// TestFieldsSecurity looks at security contexts, and at what holds without one, from inside.
func TestFieldsSecurity(t *testing.T) {
	h := newHost(t)
	// A hidden directory, as what ends in .json elsewhere is taken for a manifest.
	profiles := filepath.Join(h.manifests, ".seccomp")
	if err := os.Mkdir(profiles, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(profiles, "no-mkdir.json"), []byte(noMkdir), 0o600); err != nil {
		t.Fatal(err)
	}
	h.write("sec.yaml", secured)
	h.apply()
	status := func(container, line string) string {
		return strings.TrimSpace(strings.TrimPrefix(h.sh("sec", container, "grep ^"+line+": /proc/self/status"), line+":"))
	}
	// Docker's set: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP,
	// NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP.
	equal(t, "usual capabilities", status("usual", "CapEff"), "00000000a80425fb")
	equal(t, "usual seccomp", status("usual", "Seccomp"), "2")
	equal(t, "masked and read-only paths", h.sh("sec", "usual",
		"cat /proc/kcore 2>/dev/null | wc -c; ls /sys/firmware | wc -l; echo 1 2>/dev/null > /proc/sys/vm/swappiness || echo read-only"), "0\n0\nread-only\n")
	equal(t, "supplementary groups", strings.Contains(h.sh("sec", "usual", "id -G"), "4321"), true)
	equal(t, "sysctl", strings.Join(strings.Fields(h.sh("sec", "usual", "cat /proc/sys/net/ipv4/ip_local_port_range")), " "), "20000 30000")

	equal(t, "user and group", h.sh("sec", "user", "id -u; id -g"), "1000\n3000\n")
	equal(t, "read-only root", h.sh("sec", "user", "touch /x 2>/dev/null || echo read-only"), "read-only\n")
	equal(t, "no new privileges", status("user", "NoNewPrivs"), "1")
	equal(t, "bounding set", status("user", "CapBnd"), "0000000000000400")

	equal(t, "privileged seccomp", status("all", "Seccomp"), "0")
	equal(t, "privileged sysctl", h.sh("sec", "all", "echo 61 > /proc/sys/vm/swappiness && cat /proc/sys/vm/swappiness"), "61\n")
	h.sh("sec", "all", "mkdir /box/m && mount -t tmpfs none /box/m && echo seen > /box/m/f")
	equal(t, "mount propagation", h.sh("sec", "usual", "cat /box/m/f"), "seen\n")
	equal(t, "seccomp profile", h.sh("sec", "profile", "mkdir /tmp/x 2>/dev/null || echo refused"), "refused\n")
	equal(t, "no seccomp", status("free", "Seccomp"), "0")
	equal(t, "shared processes", h.sh("sec", "usual", "ps | grep -c '[s]leep 1000000'"), "5\n")

	// A container that must not be root, of an image whose user is.
	h.write("rootless.yaml", rootless)
	h.within(time.Minute, "the container is refused", func() bool {
		if h.firkin("apply", h.manifests, "--timeout", "10s").code != 3 {
			return false
		}
		c := h.get("rootless").container("main")
		return c.State.Waiting != nil && c.State.Waiting.Reason == "CreateContainerConfigError"
	})
}
