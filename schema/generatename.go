package schema

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
)

// generatedSuffix is how many characters are put behind a generateName, as in Kubernetes.
const generatedSuffix = 5

// generatedName gives an object that has a generateName alone a name. It is made of the
// file's name and the object's place in it, so that the next reading gives the same. It tells whether it did.
func (d document) generatedName(object map[string]any) bool {
	metadata, _ := object["metadata"].(map[string]any)
	prefix, _ := metadata["generateName"].(string)
	if given := metadata["name"]; prefix == "" || given != nil && given != "" {
		return false
	}
	const longest = 253 - generatedSuffix // of a name in Kubernetes
	place := fmt.Sprintf("%s\x00%d\x00%s", path.Base(d.file), d.index, d.prefix)
	sum := sha256.Sum256([]byte(place))
	name := prefix[:min(len(prefix), longest)] + hex.EncodeToString(sum[:])[:generatedSuffix]
	metadata = maps.Clone(metadata)
	metadata["name"] = name
	object["metadata"] = metadata
	d.report(fieldPath{"metadata", "generateName"}, SeverityWarning, ClassUnsupported,
		"the pod is called %s, after its file and its place there; give it a metadata.name to keep it when it moves", shorten(name))
	return true
}
