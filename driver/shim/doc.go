// Package shim makes machines outlive their maker: every machine has one holder
// process, the shim, that runs a driver.VMM, owns the one connection to the guest
// agent, writes container logs and answers on a unix socket. NewDriver starts shims
// and finds them again; Serve is what runs inside one.
//
// A machine is a directory. Its lock file is held by the shim for life, so whoever
// can take the lock knows that the shim is dead; no pid decides anything. A
// machine's directory appears whole (it is made under a temporary name and renamed)
// and disappears whole, so a crash at any point leaves either a machine or garbage
// that says so by its name.
package shim
