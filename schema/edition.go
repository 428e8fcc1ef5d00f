package schema

// Edition tells that a Pod or PodStatus is the one that was seen before, without a look at
// it: whoever hands out a value that is never changed again may mark it with an Edition
// made for it alone, and hands out the same one as long as it is that value. A nil Edition
// says nothing. Whoever makes another value of a copy takes the Edition from it.
type Edition struct {
	_ byte // else all editions might have one address
}
