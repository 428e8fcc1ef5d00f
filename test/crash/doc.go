// Package crash kills the reconciler at every step by which it changes the world, and sees
// that the next one finishes the work.
//
// The steps are named in the source, by comments that gofail turns into code: the program
// under test is built from a copy of the source tree in which they are on, and dies by
// SIGKILL at the one that it is told. The comments cost a production build nothing.
//
// For each point real work is done on real VMs until the process dies there (one that is
// never reached fails the test). Then a plain apply has to converge, and the oracles are
// asked: one VM for each pod and none besides, no container started twice, none touched
// that had nothing to do with it, every volume the size it is to have, and nothing left to
// do. A plain run does two points; FIRKIN_CRASH=all (make crash) does all of them three
// times, killing apply and run in turn.
package crash
