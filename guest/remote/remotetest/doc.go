// Package remotetest has a guest in memory that serves com.apple.containerization.sandbox.v3 over a
// link, and no pod service: its processes are fakes, and its file systems are noted, not made.
package remotetest
