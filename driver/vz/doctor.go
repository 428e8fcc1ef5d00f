package vz

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// entitlement is what the framework asks of a program that runs machines.
const entitlement = "com.apple.security.virtualization"

// signRemedy is how a program gets the entitlement.
const signRemedy = "make sign builds and signs it; a program that is built already: " +
	"codesign --force --sign - --entitlements driver/vz/vz.entitlements "

// signature is what codesign said of a program.
type signature struct {
	path           string
	stdout, stderr []byte
	err            error // how codesign ended
}

// judgeSignature tells a program that may run machines from one that may not, and says what to do.
func judgeSignature(s signature) driver.Check {
	c := driver.Check{Name: "signature", Fatal: true, Remedy: signRemedy + s.path}
	if s.err != nil {
		if bytes.Contains(s.stderr, []byte("not signed at all")) {
			c.Detail = s.path + " is not signed: Virtualization.framework starts no machine for it"
			return c
		}
		// Not a verdict: machines may well start.
		c.Fatal = false
		c.Detail = fmt.Sprintf("codesign does not say how %s is signed: %v: %s", s.path, s.err, strings.TrimSpace(string(s.stderr)))
		return c
	}
	switch has, err := hasEntitlement(s.stdout); {
	case err != nil:
		c.Fatal = false
		c.Detail = fmt.Sprintf("%s is signed; its entitlements cannot be read: %v", s.path, err)
	case !has:
		c.Detail = s.path + " is signed without " + entitlement + ": Virtualization.framework starts no machine for it"
	default:
		c.OK, c.Remedy = true, ""
		c.Detail = s.path + " has " + entitlement
	}
	return c
}

// hasEntitlement reads an XML property list: whether its dictionary says true of the
// entitlement. One that is empty says nothing.
func hasEntitlement(plist []byte) (bool, error) {
	d := xml.NewDecoder(bytes.NewReader(plist))
	var key strings.Builder
	for depth := 0; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read entitlements: %w", err)
		}
		const inPlist, inDict = 2, 3 // <plist><dict><key>
		switch t := token.(type) {
		case xml.StartElement:
			depth++
			switch {
			case depth != inDict:
			case t.Name.Local == "key":
				key.Reset()
			case key.String() == entitlement:
				return t.Name.Local == "true", nil
			}
		case xml.CharData:
			if depth == inDict {
				key.Write(t)
			}
		case xml.EndElement:
			depth--
			if depth < inPlist {
				return false, nil
			}
		}
	}
}

// judgeRelease says what this Mac can do, and what it would take a newer macOS for.
func judgeRelease(r release, appleSilicon bool) driver.Check {
	c := driver.Check{Name: "macos", Detail: "macOS " + r.version}
	if r.major < macOSBlockID {
		c.Fatal = true
		c.Detail += " runs no machines"
		c.Remedy = fmt.Sprintf("macOS %d or newer is needed", macOSBlockID)
		return c
	}
	var lacks []string
	if r.major < macOSSaves || !appleSilicon {
		lacks = append(lacks, fmt.Sprintf("templates: every machine boots (macOS %d on Apple silicon)", macOSSaves))
	}
	if r.major < macOSHotPlug {
		lacks = append(lacks, fmt.Sprintf("disks attached to a running machine: images are sent to it, claims are refused (macOS %d)", macOSHotPlug))
	}
	if len(lacks) == 0 {
		c.OK = true
		c.Detail += ": machines, templates, disks attached to a running machine"
		return c
	}
	c.Detail += ": machines, but no " + strings.Join(lacks, "; no ")
	if r.major >= macOSHotPlug {
		c.OK = true // what a Mac with Intel's processor lacks no macOS mends
		return c
	}
	c.Remedy = fmt.Sprintf("macOS %d or newer has what is missing", macOSHotPlug)
	return c
}
