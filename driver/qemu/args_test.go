package qemu

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

var update = flag.Bool("update", false, "write the golden command lines")

func TestArgumentsGolden(t *testing.T) {
	spec := driver.Spec{
		ID: testID, Name: "default/web", CPUs: 2, MemoryBytes: 256 << 20,
		Guest: driver.Guest{Kernel: "/guest/kernel", Initrd: "/guest/initrd.img"},
	}
	for name, facts := range map[string]Facts{
		"kvm":       {Arch: "amd64", Accelerator: KVM},
		"tcg":       {Arch: "amd64", Accelerator: TCG, TSCKHz: 2100000},
		"kvm-arm64": {Arch: "arm64", Accelerator: KVM},
		"tcg-arm64": {Arch: "arm64", Accelerator: TCG},
		"hvf":       {Arch: "amd64", Accelerator: HVF, Bare: true},
		"hvf-arm64": {Arch: "arm64", Accelerator: HVF, Bare: true},
		"tcg-macos": {Arch: "arm64", Accelerator: TCG, Bare: true},
	} {
		args := arguments(spec, facts, inherited{qmp: 3, link: 4, kernel: 5, initrd: 6}, origin{})
		got := strings.Join(args, "\n") + "\n"
		file := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestParseTSC(t *testing.T) {
	for name, c := range map[string]struct {
		log  string
		want int
	}{
		"none":     {"[    0.000000] Linux version 6.1", 0},
		"detected": {"[    0.000000] tsc: Detected 2699.998 MHz processor", 2699998},
		"refined later": {"[    0.000000] tsc: Detected 2700.000 MHz TSC\n[    1.4] tsc: Refined TSC clocksource calibration: 2693.671 MHz",
			2693671},
	} {
		if got, ok := parseTSC(c.log); got != c.want || ok != (c.want > 0) {
			t.Errorf("%s: %d, %t; want %d", name, got, ok, c.want)
		}
	}
}

func TestMeasuredTSCIsPlausible(t *testing.T) {
	if khz := measureTSC(); khz <= 0 || khz > 10_000_000 {
		t.Errorf("%d kHz", khz)
	}
}

func TestCheckDiskID(t *testing.T) {
	for id, ok := range map[string]bool{
		"store": true, "i0123456789abcdef012": true, "A-b": true,
		"": false, "i0123456789abcdef0123": false, "a_b": false, "a,b": false, "ä": false,
	} {
		if err := checkDiskID(id); (err == nil) != ok {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestUIDsAreInRangeAndDiffer(t *testing.T) {
	a, b := freeUID("one"), freeUID("two")
	if a == b {
		t.Error("two machines share a uid")
	}
	for _, uid := range []int{a, b} {
		if uid < uidBase || uid >= uidBase+uidCount {
			t.Errorf("uid %d is out of range", uid)
		}
	}
}

func TestArgument(t *testing.T) {
	cmdline := "qemu-system-x86_64\x00-uuid\x00X\x00-name\x00"
	for option, want := range map[string]string{"-uuid": "X", "-name": "", "-m": ""} {
		if got := argument(cmdline, option); got != want {
			t.Errorf("%s: %q, want %q", option, got, want)
		}
	}
}

func TestCappedLogKeepsTwoParts(t *testing.T) {
	log := &cappedLog{path: filepath.Join(t.TempDir(), "console.log")}
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for range 3 * consoleBytes / len(line) {
		if _, err := log.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	log.close()
	var total int64
	files, err := filepath.Glob(log.path + "*")
	if err != nil || len(files) != 2 {
		t.Fatalf("files %q, %v", files, err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > 2*consoleBytes {
		t.Errorf("%d bytes are kept, more than %d", total, 2*consoleBytes)
	}
}
