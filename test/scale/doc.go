// Package scale measures the loop over thousands of simulated pods.
package scale
