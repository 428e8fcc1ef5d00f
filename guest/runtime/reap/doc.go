// Package reap is the one place where PID 1 starts processes and collects the
// status of those that ended, whoever started them.
//
// A reaper must wait for any child, and so takes the status from whoever waits
// for a particular one (os/exec among them). Here both go through one lock: a
// child is known before it can be reaped, and a status nobody asked for is
// dropped.
package reap
