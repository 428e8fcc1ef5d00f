package schema

import _ "embed"

//go:generate go run ./internal/gen fields.tsv pod.schema.json ../docs/FIELDS.md

//go:embed pod.schema.json
var schemaJSON []byte

// JSON returns the JSON Schema of the manifests that are understood.
func JSON() []byte { return schemaJSON }
