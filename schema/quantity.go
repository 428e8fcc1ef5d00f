package schema

import (
	"errors"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// quantity reads an amount; what is empty is 0. It reports what is no amount, or negative.
func (d document) quantity(q quantity, p fieldPath) resource.Quantity {
	if q == "" {
		return resource.Quantity{}
	}
	if !sized(string(q)) {
		d.invalid(p, "%q is out of any range", shorten(string(q)))
		return resource.Quantity{}
	}
	v, err := resource.ParseQuantity(string(q))
	switch {
	case err != nil:
		d.invalid(p, "%q is not a quantity: write a number with or without a suffix, such as 500m, 1, 64Mi or 2G", shorten(string(q)))
		return resource.Quantity{}
	case v.Sign() < 0:
		d.invalid(p, "must be greater than or equal to 0, is %s", shorten(string(q)))
		return resource.Quantity{}
	}
	return v
}

// sized tells whether a quantity is short and its exponent small: the library spends
// minutes on 1e999999999.
func sized(q string) bool {
	const (
		maxLength   = 64
		maxExponent = 18 // of bytes in 63 bits
	)
	if len(q) > maxLength {
		return false
	}
	i := strings.LastIndexAny(q, "eE")
	if i < 0 {
		return true
	}
	exponent, err := strconv.Atoi(q[i+1:])
	if errors.Is(err, strconv.ErrRange) {
		return false
	}
	return err != nil || exponent >= -maxExponent && exponent <= maxExponent
}

// bytes reads a whole number of bytes.
func (d document) bytes(q quantity, p fieldPath) int64 {
	v := d.quantity(q, p)
	return v.Value()
}
