package pid1

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// timerList is the kernel's account of its timers.
const timerList = "/proc/timer_list"

// The rate of an emulated x86 processor's timer, as timerList says it: QEMU's local APIC
// counts 1 GHz, which Linux divides by 16, in cycles per nanosecond times 2^32.
const apicTimerMult = 62_500_000 * (1 << 32) / 1_000_000_000

// What the kernel may have measured: timers are late by the factor that it is too high, and
// too many where it is too low.
const (
	timerTooSlow = apicTimerMult / 8
	timerTooFast = apicTimerMult * 5 / 2
)

// errTimer: timers do not fire when they should.
var errTimer = errors.New("the kernel measured its timer wrong while it booted, for the host was too busy")

// CheckTimer returns an error if the timer of an emulated x86 machine is late or never fires.
// The kernel measures its rate at boot by another clock. Kept from the processor for a moment
// in between, it arrives at another rate, or does without a timer, and then whatever waits in
// that machine waits forever.
func CheckTimer() error {
	if !Emulated() || runtime.GOARCH != "amd64" {
		return nil
	}
	list, err := os.ReadFile(timerList)
	if err != nil {
		return fmt.Errorf("check timer: %w", err)
	}
	return checkTimer(string(list))
}

// checkTimer looks at the device that makes the first processor's ticks.
func checkTimer(list string) error {
	_, device, _ := strings.Cut(list, "Per CPU device: 0\n")
	_, device, _ = strings.Cut(device, "Clock Event Device:")
	name, rest, _ := strings.Cut(device, "\n")
	if name = strings.TrimSpace(name); name != "lapic" {
		return fmt.Errorf("check timer: %w: its ticks come from %q", errTimer, name)
	}
	_, rest, _ = strings.Cut(rest, " mult:")
	text, _, _ := strings.Cut(rest, "\n")
	mult, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return fmt.Errorf("check timer: read %s: %w", timerList, err)
	}
	if mult < timerTooSlow || mult > timerTooFast {
		return fmt.Errorf("check timer: %w: %.2f times what it is", errTimer, float64(mult)/apicTimerMult)
	}
	return nil
}

// Restart boots the machine anew, at once: it does not wait for anything. It returns only
// on failure.
func Restart() error {
	if err := os.WriteFile("/proc/sysrq-trigger", []byte("b"), 0); err != nil {
		return fmt.Errorf("restart the machine: %w", err)
	}
	return errors.New("restart the machine: the kernel did not")
}
