package render

// Paint colours words, or leaves them alone.
type Paint bool

// SGR sequences, all ended by reset.
const (
	sgrReset  = "\x1b[0m"
	sgrBold   = "\x1b[1m"
	sgrRed    = "\x1b[31m"
	sgrGreen  = "\x1b[32m"
	sgrYellow = "\x1b[33m"
	sgrDim    = "\x1b[2m"
)

func (p Paint) with(sgr, s string) string {
	if !p {
		return s
	}
	return sgr + s + sgrReset
}

// Bold makes a heading.
func (p Paint) Bold(s string) string { return p.with(sgrBold, s) }

// Red marks losses and failures.
func (p Paint) Red(s string) string { return p.with(sgrRed, s) }

// Green marks gains and success.
func (p Paint) Green(s string) string { return p.with(sgrGreen, s) }

// Yellow marks changes and warnings.
func (p Paint) Yellow(s string) string { return p.with(sgrYellow, s) }

// Dim marks what may be skipped.
func (p Paint) Dim(s string) string { return p.with(sgrDim, s) }
