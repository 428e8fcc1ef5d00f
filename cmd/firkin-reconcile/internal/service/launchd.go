package service

import (
	"fmt"
	"path/filepath"
	"strings"
)

const label = "dev.firkin.reconcile"

func launchd(user bool, home string, uid int) Manager {
	domain, dir := "system", "/Library/LaunchDaemons"
	if user {
		domain, dir = fmt.Sprintf("gui/%d", uid), filepath.Join(home, "Library/LaunchAgents")
	}
	path := filepath.Join(dir, label+".plist")
	return Manager{
		Name:   "launchd",
		Path:   path,
		define: plist,
		load: [][]string{
			// One that is loaded is taken out first; there may be none.
			{"/bin/sh", "-c", `launchctl bootout "$1" 2>/dev/null || true`, "sh", domain + "/" + label},
			{"launchctl", "bootstrap", domain, path},
		},
		unload: [][]string{{"launchctl", "bootout", domain + "/" + label}},
	}
}

// plist is the service as launchd has it. AbandonProcessGroup leaves the pods' shims
// alone when the reconciler ends.
func plist(s Service) string {
	var words strings.Builder
	for _, w := range s.arguments() {
		fmt.Fprintf(&words, "\t\t<string>%s</string>\n", escapeXML(w))
	}
	return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>` + label + `</string>
	<key>ProgramArguments</key>
	<array>
` + words.String() + `	</array>
	<key>RunAtLoad</key>
	<true/>
	<key>KeepAlive</key>
	<true/>
	<key>ThrottleInterval</key>
	<integer>2</integer>
	<key>AbandonProcessGroup</key>
	<true/>
	<key>ProcessType</key>
	<string>Interactive</string>
</dict>
</plist>
`
}

func escapeXML(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
