package stack

import (
	"fmt"
	"testing"
)

const someResolvConf = `# by hand
nameserver 192.0.2.53 ; a comment
nameserver fe80::1%eth0
nameserver not-an-address
nameserver
search example.org
options ndots:2 rotate
#nameserver 192.0.2.54
`

func TestNameservers(t *testing.T) {
	if got := fmt.Sprint(nameservers(someResolvConf)); got != "[192.0.2.53 fe80::1%eth0]" {
		t.Error(got)
	}
}

func FuzzNameservers(f *testing.F) {
	f.Add(someResolvConf)
	f.Fuzz(func(t *testing.T, text string) {
		for _, addr := range nameservers(text) {
			if !addr.IsValid() {
				t.Error("an invalid address")
			}
		}
	})
}
