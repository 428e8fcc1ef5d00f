package runtime

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
)

func TestParseDevices(t *testing.T) {
	const devices = "Character devices:\n  1 mem\n248 virtio-portsdev\n\nBlock devices:\n  8 sd\n"
	if major, err := parseDevices(strings.NewReader(devices), "virtio-portsdev"); err != nil || major != 248 {
		t.Errorf("got %d %v", major, err)
	}
	if _, err := parseDevices(strings.NewReader(devices), "absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestBundleContainer(t *testing.T) {
	for _, id := range []string{"", "..", "a/b", ".a", strings.Repeat("a", 201)} {
		if _, err := bundleContainer(id); !errors.Is(err, agent.ErrInvalid) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if c, err := bundleContainer("a"); err != nil || c.id != "bundle.a" || c.dir != bundlesDir+"/bundle.a" {
		t.Errorf("got %v %v", c, err)
	}
}

func TestKeepPort(t *testing.T) {
	usual := &specs.Linux{Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}}}
	for _, linux := range []*specs.Linux{{}, {Resources: &specs.LinuxResources{}}, usual} {
		if privileged, err := keepPort(linux); privileged || err != nil {
			t.Errorf("%v: %v %v", linux, privileged, err)
		}
	}
	all := &specs.Linux{Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}}}
	if privileged, err := keepPort(all); !privileged || err != nil {
		t.Errorf("all devices: %v %v", privileged, err)
	}
}

func TestWithUsername(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"passwd": "app:x:1000:100::/home/app:/bin/sh\n", "group": "users:x:100:\naudio:x:29:app\n"} {
		if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root := &specs.Root{Path: dir}
	for name, want := range map[string]specs.User{
		"":        {UID: 7},
		"app":     {UID: 1000, GID: 100, AdditionalGids: []uint32{29}},
		"5:audio": {UID: 5, GID: 29},
	} {
		given := &specs.Process{User: specs.User{Username: name}}
		if name == "" {
			given.User.UID = 7
		}
		got, err := withUsername(root, given)
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(want, got.User); diff != "" {
			t.Errorf("%q: %s", name, diff)
		}
		if given.User.Username != name {
			t.Errorf("%q: the request was changed", name)
		}
	}
	if _, err := withUsername(root, &specs.Process{User: specs.User{Username: "nobody-there"}}); err == nil {
		t.Error("a user that is not there")
	}
}
