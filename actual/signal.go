package actual

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxSignal is Linux's last real-time signal, realtimeMin the first one that C libraries
// leave to programs.
const (
	maxSignal   = 64
	realtimeMin = 34
)

// signalNumber is the number of a signal on Linux, whatever this host is: of its name
// with or without "SIG" ("SIGUSR1", "usr1", "SIGRTMIN+3"), or of the number itself.
func signalNumber(name string) (int32, error) {
	text := strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if n, ok := known(text); ok {
		return n, nil
	}
	n, err := strconv.Atoi(text)
	if offset, ok := strings.CutPrefix(text, "RTMIN"); ok {
		n, err = realtime(offset, realtimeMin)
	} else if offset, ok := strings.CutPrefix(text, "RTMAX"); ok {
		n, err = realtime(offset, maxSignal)
	}
	if err != nil || n < 1 || n > maxSignal {
		return 0, fmt.Errorf("no signal %q", name)
	}
	return int32(n), nil
}

func realtime(offset string, from int) (int, error) {
	if offset == "" {
		return from, nil
	}
	n, err := strconv.Atoi(offset)
	return from + n, err
}

// numberedFrom1 are the names of Linux's signals on amd64 and arm64, in the order of
// their numbers.
const numberedFrom1 = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP " +
	"TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"

// known is the number of a signal with a name of its own.
func known(name string) (int32, bool) {
	switch name {
	case "IOT":
		name = "ABRT"
	case "CLD":
		name = "CHLD"
	case "POLL":
		name = "IO"
	}
	i := slices.Index(strings.Fields(numberedFrom1), name)
	return int32(i + 1), i >= 0
}
