//go:build !race

package world

// plainSequences are those of a plain run.
const plainSequences = 300
