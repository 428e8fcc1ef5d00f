package pid1

import (
	"errors"
	"fmt"
	"testing"
)

// timers is what a kernel says of its timers: device makes the ticks.
func timers(device string) string {
	return "Timer List Version: v0.9\nHRTIMER_MAX_CLOCK_BASES: 8\n\n" +
		"Tick Device: mode:     0\nBroadcast device\nClock Event Device: <NULL>\ntick_broadcast_mask: 0\n\n" +
		"Tick Device: mode:     0\nPer CPU device: 0\nClock Event Device: " + device
}

func TestCheckTimer(t *testing.T) {
	lapic := func(mult int) string {
		return timers(fmt.Sprintf("lapic\n max_delta_ns:   134217800\n min_delta_ns:   1000\n mult:           %d\n shift:          32\n", mult))
	}
	for name, list := range map[string]string{
		"right": lapic(apicTimerMult), "a little off": lapic(288845004), "quick": lapic(apicTimerMult / 2),
	} {
		if err := checkTimer(list); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, list := range map[string]string{
		"none": timers("<NULL>\n"), "much too quick": lapic(4_000_000), "too slow": lapic(3 * apicTimerMult),
	} {
		if err := checkTimer(list); !errors.Is(err, errTimer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkTimer(timers("lapic\n")); err == nil {
		t.Error("a list without the rate is taken")
	}
}
