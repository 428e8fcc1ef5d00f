package qemu

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// ioError is what QEMU says of a disk's file that failed.
type ioError struct {
	Node      string `json:"node-name"`
	Operation string // read or write
	Action    string // what it does: report (the guest is told), stop
	Nospace   bool
	Reason    string
}

// diskFailed notes that the file of a disk failed; mu is held. A machine that stops for want
// of space goes on later; what else fails is the guest's to deal with, and here to explain.
func (v *vm) diskFailed(data json.RawMessage) {
	var e ioError
	if json.Unmarshal(data, &e) != nil {
		return
	}
	switch {
	case e.Action == "stop" && e.Nospace:
		v.full = true
		if now := time.Now(); now.Sub(v.toldFull) >= tellFullEvery {
			v.toldFull = now
			v.log.Info("the machine stopped: no space is left on the host; it goes on once there is", "cause", e.Reason)
		}
	case v.broken == "":
		disk := strings.TrimPrefix(e.Node, nodeName(""))
		v.broken = fmt.Sprintf("at %s the host failed to %s its disk %s: %s",
			time.Now().UTC().Format(time.RFC3339), e.Operation, disk, e.Reason)
		v.log.Info("a disk of the machine fails on the host; its guest is told", "disk", disk, "operation", e.Operation, "cause", e.Reason)
		if v.trouble == "" {
			v.trouble = v.broken
		}
	}
}

// why adds what failed before a machine ended to how it ended; mu is held.
func (v *vm) why(end string) string {
	if v.broken == "" {
		return end
	}
	return v.broken + "; then " + end
}
