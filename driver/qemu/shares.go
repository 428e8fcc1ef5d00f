package qemu

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

const (
	// sharesTag is what the guest mounts; below it is a directory or file for each share.
	sharesTag = "shares"
	// sharesDir and sharesSocket lie in the machine's directory.
	sharesDir    = "shares"
	sharesSocket = "shares.sock"
)

// findShareServer returns the virtiofsd to run: distributions keep it out of $PATH.
func findShareServer() (string, error) {
	for _, name := range []string{"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "virtiofsd"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no virtiofsd, which shares directories of the host (on Debian 12: apt-get install qemu-system-common; "+
		"on later ones: virtiofsd): %w", driver.ErrUnsupported)
}

// shareServerArguments builds virtiofsd's command line. There are two programs of that
// name; version is what this one says of itself: QEMU's own, up to QEMU 7.2, says
// "virtiofsd version", its successor "virtiofsd 1". Both confine themselves to root, in
// namespaces of their own with their system calls filtered. Without the capability to
// make device nodes, a guest cannot make one that opens a disk of the host's.
func shareServerArguments(version string, fd int, root string) []string {
	if strings.HasPrefix(version, "virtiofsd version") {
		return []string{
			fmt.Sprintf("--fd=%d", fd), "-f",
			"-o", "source=" + strings.ReplaceAll(root, ",", `\,`),
			"-o", "sandbox=namespace,cache=auto,announce_submounts,modcaps=-mknod,log_level=warn",
		}
	}
	return []string{
		fmt.Sprintf("--fd=%d", fd), "--shared-dir=" + root, "--sandbox=namespace", "--seccomp=kill",
		"--cache=auto", "--announce-submounts", "--modcaps=-mknod", "--log-level=warn",
	}
}

// checkShares refuses what cannot be a name in the directory of shares, and what is not there.
func checkShares(shares []driver.Share) error {
	seen := map[string]bool{}
	for _, s := range shares {
		const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
		if s.Name == "" || len(s.Name) > 63 || strings.Trim(s.Name, letters) != "" || seen[s.Name] {
			return fmt.Errorf("share %q: a name is 1 to 63 characters of [a-z0-9-], and each is there once", s.Name)
		}
		seen[s.Name] = true
		info, err := os.Stat(s.Path)
		if err != nil {
			return fmt.Errorf("share %s: %w", s.Name, err)
		}
		if info.IsDir() == s.File || !info.IsDir() && !info.Mode().IsRegular() {
			return fmt.Errorf("share %s: %s is a %s, and only directories and regular files can be shared", s.Name, s.Path, info.Mode().Type())
		}
	}
	return nil
}
