package runtime

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestMountWords(t *testing.T) {
	flags, data := mountWords([]string{"nosuid", "mode=1777", "nodev", "noexec", "size=5"})
	if flags != unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC || data != "mode=1777,size=5" {
		t.Errorf("flags %#x, data %q", flags, data)
	}
}
