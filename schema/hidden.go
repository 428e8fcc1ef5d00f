package schema

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Hidden is data that must not be shown: printed or encoded it is its digest. Decoded
// again, only the digest is known. The zero value is no data at all.
type Hidden struct {
	value  string
	digest string // "" for no data
}

// Hide wraps a value.
func Hide(value string) Hidden {
	sum := sha256.Sum256([]byte(value))
	return Hidden{value: value, digest: "sha256:" + hex.EncodeToString(sum[:])}
}

// Reveal returns the value; false when it is not known (any more).
func (h Hidden) Reveal() (string, bool) {
	return h.value, h.digest != "" && h == Hide(h.value)
}

// IsZero tells whether there is no data.
func (h Hidden) IsZero() bool { return h.digest == "" }

// String returns the digest.
func (h Hidden) String() string { return h.digest }

// Format prints the digest whatever the verb, so that no %+v or %#v tells the value.
func (h Hidden) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, h.digest) } // as fmt does

// MarshalJSON writes the digest.
func (h Hidden) MarshalJSON() ([]byte, error) { return json.Marshal(h.digest) }

// UnmarshalJSON takes a digest.
func (h *Hidden) UnmarshalJSON(b []byte) error {
	*h = Hidden{}
	return json.Unmarshal(b, &h.digest)
}

// Equal tells whether both are the same data.
func (h Hidden) Equal(o Hidden) bool { return h.digest == o.digest }
