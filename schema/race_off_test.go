//go:build !race

package schema_test

// slower is how much less work tests do under the race detector.
const slower = 1
