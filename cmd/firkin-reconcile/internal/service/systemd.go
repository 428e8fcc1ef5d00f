package service

import (
	"path/filepath"
	"strings"
)

const unitName = "firkin-reconcile.service"

func systemd(user bool, home string) Manager {
	ctl := []string{"systemctl"}
	dir := "/etc/systemd/system"
	if user {
		ctl = append(ctl, "--user")
		dir = filepath.Join(home, ".config/systemd/user")
	}
	do := func(words ...string) []string { return append(append([]string{}, ctl...), words...) }
	return Manager{
		Name:   "systemd",
		Path:   filepath.Join(dir, unitName),
		define: unit,
		load:   [][]string{do("daemon-reload"), do("enable", unitName), do("restart", unitName)},
		unload: [][]string{do("disable", "--now", unitName)},
	}
}

// unit is the service as systemd has it. The pods' shims are children of nobody and must
// outlive the reconciler: only its own process is stopped (KillMode=process).
func unit(s Service) string {
	words := s.arguments()
	for i, w := range words {
		words[i] = quoteUnit(w)
	}
	target := "multi-user.target"
	if s.User {
		target = "default.target"
	}
	return `[Unit]
Description=Keeps this host's pods equal to ` + strings.NewReplacer("%", "%%", "\n", " ").Replace(s.Manifests) + `
Documentation=https://github.com/firkin-dev/firkin-reconcile
After=network-online.target local-fs.target
Wants=network-online.target

[Service]
ExecStart=` + strings.Join(words, " ") + `
Restart=always
RestartSec=2
KillMode=process
Delegate=yes
OOMPolicy=continue
LimitNOFILE=65536

[Install]
WantedBy=` + target + `
`
}

// quoteUnit writes a word so that systemd reads it as it is: no specifier, no variable,
// no escape.
func quoteUnit(word string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$", "\n", `\n`).Replace(word) + `"`
}
