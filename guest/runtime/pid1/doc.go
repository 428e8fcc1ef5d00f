// Package pid1 makes a guest out of a freshly booted kernel: file systems,
// modules, the loopback interface, the port of the link.
package pid1
