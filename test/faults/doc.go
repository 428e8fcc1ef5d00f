// Package faults holds tests that break things around real VMs and look at what
// becomes of the pods: whatever dies, fills up or arrives half-written, no running pod
// is lost, none runs twice, none is removed by mistake, and everything heals by itself.
//
// Every scenario is one test, asserts the oracles (see oracles_test.go) and prints one
// line with its figure. A plain run does few of them, and few rounds of those; with
// FIRKIN_FAULTS=all (make faults) all of them do all their rounds.
package faults
