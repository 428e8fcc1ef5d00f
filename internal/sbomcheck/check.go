package main

import (
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"github.com/firkin-dev/firkin-reconcile/guest/bundle"
)

// schemaBase is where CycloneDX's schemas say that they are; they name each other by that.
const schemaBase = "http://cyclonedx.org/schema/"

// bom is what is looked at of an SBOM.
type bom struct {
	Components []struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	} `json:"components"`
}

// Check returns how many things an SBOM had to name and does; an error says all that is wrong with it.
func Check(sbom, schemas, guest string, binaries []string) (int, error) {
	data, err := os.ReadFile(sbom)
	if err != nil {
		return 0, err
	}
	if err := valid(data, schemas); err != nil {
		return 0, fmt.Errorf("check %s: %w", sbom, err)
	}
	var b bom
	if err := json.Unmarshal(data, &b); err != nil {
		return 0, fmt.Errorf("check %s: %w", sbom, err)
	}
	named := make(map[string]bool)
	for _, c := range b.Components {
		named[c.Name+"@"+c.Version] = true
	}
	wanted, err := parts(guest, binaries)
	if err != nil {
		return 0, err
	}
	var missing []error
	for _, part := range wanted {
		if !named[part] {
			missing = append(missing, fmt.Errorf("check %s: %s is not in it", sbom, part))
		}
	}
	return len(wanted), errors.Join(missing...)
}

// valid says what the schema of its version does not allow.
func valid(data []byte, schemas string) error {
	const file = "bom-1.6.schema.json"
	compiler := jsonschema.NewCompiler()
	// Nothing is fetched: what the schema refers to lies beside it, one of them under another name.
	for name, from := range map[string]string{file: file, "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json"} {
		f, err := os.Open(filepath.Join(schemas, from))
		if err != nil {
			return err
		}
		defer f.Close()
		if err := compiler.AddResource(schemaBase+name, f); err != nil {
			return err
		}
	}
	schema, err := compiler.Compile(schemaBase + file)
	if err != nil {
		return err
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	return schema.Validate(value)
}

// parts are the modules and packages that things are made of, as NAME@VERSION.
func parts(guest string, binaries []string) ([]string, error) {
	var list []string
	for _, path := range binaries {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return nil, err
		}
		for _, m := range info.Deps {
			for m.Replace != nil {
				m = m.Replace
			}
			list = append(list, m.Path+"@"+m.Version)
		}
		list = append(list, "std@"+strings.Fields(info.GoVersion)[0])
	}
	manifest, err := bundle.Read(guest)
	if err != nil {
		return nil, err
	}
	for _, p := range manifest.Packages {
		list = append(list, p.Name+"@"+p.Version)
	}
	if len(manifest.Packages) == 0 {
		return nil, fmt.Errorf("guest bundle %s names no packages", guest)
	}
	return list, nil
}
