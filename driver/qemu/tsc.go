package qemu

import (
	"errors"
	"regexp"
	"strconv"
)

// detected is how the host's kernel says what it measured.
var detected = regexp.MustCompile(`tsc: (?:Refined TSC clocksource calibration:|Detected) ([0-9]+)\.([0-9]{3}) MHz`)

// errNoTSC: the host has no time stamp counter whose rate could be told.
var errNoTSC = errors.New("find the rate of the host's time stamp counter: neither the kernel's log nor a measurement tells")

// tscKHz is the rate of the host's TSC in kHz: the kernel's own word where its log still
// has it, else measured.
func tscKHz() (int, error) {
	if khz, ok := parseTSC(kernelLog()); ok {
		return khz, nil
	}
	if khz := measureTSC(); khz > 0 {
		return khz, nil
	}
	return 0, errNoTSC
}

// parseTSC finds the last rate that a kernel log tells: a refined one comes later.
func parseTSC(log string) (int, bool) {
	all := detected.FindAllStringSubmatch(log, -1)
	if len(all) == 0 {
		return 0, false
	}
	last := all[len(all)-1]
	khz, err := strconv.Atoi(last[1] + last[2])
	return khz, err == nil && khz > 0
}
