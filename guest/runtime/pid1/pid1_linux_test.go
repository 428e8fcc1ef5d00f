package pid1

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
)

func TestFindPort(t *testing.T) {
	ports := fstest.MapFS{
		"vport0p0/other": {},
		"vport0p1/name":  {Data: []byte("dev.firkin.link\n")},
		"vport0p2/name":  {Data: []byte("another\n")},
	}
	if got, err := findPort(ports, LinkPort); got != "vport0p1" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, ports := range []fs.FS{fstest.MapFS{}, fstest.MapFS{"vport0p1/name": {Data: []byte("another\n")}}} {
		if _, err := findPort(ports, LinkPort); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	}
}

func TestConsole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		c := NewConsole(&out, 10, time.Minute)
		for range 3 {
			if n, err := c.Write([]byte("line\n")); n != 5 || err != nil {
				t.Errorf("wrote %d, %v", n, err)
			}
		}
		if out.String() != "line\nline\n" {
			t.Errorf("got %q", out.String())
		}
		time.Sleep(time.Minute)
		if _, err := c.Write([]byte("later\n")); err != nil {
			t.Error(err)
		}
		if out.String() != "line\nline\nlater\n" {
			t.Errorf("got %q", out.String())
		}
	})
}
