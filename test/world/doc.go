// Package world tests the reconciler in a simulated world and virtual time: random
// sequences of events and faults against the real loop, the real observer and the real
// guest agent, over machines in memory (driver/sim).
//
// A sequence is drawn by rapid, which shrinks one that fails; what is then printed is its
// story: what happened, when, and what the reconciler did about it. A plain run does a few
// hundred sequences; FIRKIN_WORLD=100000 does as many as it says (make world).
package world
