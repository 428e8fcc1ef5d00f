// Command sbomcheck checks a CycloneDX SBOM: that CycloneDX's own schema allows it, and that it names every Go module
// of some binaries and every package of a guest bundle.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	schemas := flag.String("schemas", "", "directory of CycloneDX's JSON schemas")
	guest := flag.String("bundle", "", "directory of the guest bundle")
	flag.Parse()
	if *schemas == "" || *guest == "" || flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "usage: sbomcheck -schemas DIR -bundle DIR SBOM BINARY...")
		os.Exit(2)
	}
	named, err := Check(flag.Arg(0), *schemas, *guest, flag.Args()[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%d modules and packages, all of them named; valid CycloneDX\n", named)
}
