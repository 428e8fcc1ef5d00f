// Package sim simulates machines: the real guest agent over a fake container
// runtime that runs a few commands in memory, with faults and delays by a small
// grammar (ParseFaults).
//
// NewDriver makes machines in this process' memory, thousands of them, without any
// I/O, so that they work inside a testing/synctest bubble. NewVMM is for a shim
// process: the guest is real to its shim, and its store outlives it in a file.
//
// Commands: true, false, exit N, echo WORDS, sleep SECONDS|infinity, cat [PATH],
// write PATH TEXT, rm PATH, fill PATH BYTES, test -f PATH, listen PORT [PATH],
// ignore-term, and sh -c with a sequence of these (";", "&&", newlines, quotes, > and >>
// after echo, trap "" TERM). Paths are those of mounted volumes, or the container's own,
// which are empty at first and go with it. listen opens a port for probes until its process
// ends and answers HTTP there: 200, or 503 while there is no file PATH. Anything else runs
// until it is signalled.
package sim
