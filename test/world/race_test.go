//go:build race

package world

// plainSequences are those of a plain run, which the race detector slows down by much.
const plainSequences = 40
