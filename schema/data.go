package schema

import (
	"encoding/base64"
	"errors"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"
)

// The kinds of the documents that pods take something from.
const (
	KindConfigMap = "ConfigMap"
	KindSecret    = "Secret"
	KindClaim     = "PersistentVolumeClaim"
)

// maxDataBytes is how much a ConfigMap or Secret may hold, as in Kubernetes.
const maxDataBytes = 1 << 20

// DocumentName names a document that pods take something from.
type DocumentName struct {
	// Kind is KindConfigMap, KindSecret or KindClaim.
	Kind string
	Ref
}

// String returns "ConfigMap default/web".
func (n DocumentName) String() string { return n.Kind + " " + n.Ref.String() }

// Document returns the name of the ConfigMap or Secret.
func (d *DataDocument) Document() DocumentName {
	kind := KindConfigMap
	if d.Secret {
		kind = KindSecret
	}
	return DocumentName{Kind: kind, Ref: d.Ref}
}

// Document returns the name of the PersistentVolumeClaim.
func (c *ClaimDocument) Document() DocumentName { return DocumentName{Kind: KindClaim, Ref: c.Ref} }

// named keeps what document an object is. When that cannot be told, the file may mean any.
func (p *parser) named(kind string, object map[string]any) {
	if ref, ok := refOf(object); ok {
		p.out.Documents = append(p.out.Documents, DocumentName{Kind: kind, Ref: ref})
		return
	}
	p.out.Unreadable = true
}

// origin is where an object stands.
func (p *parser) origin(d document) Origin {
	line, _ := d.position(d.prefix)
	return Origin{File: p.file, Line: line, Commit: p.opt.Commit}
}

// configMap reads one ConfigMap.
func (p *parser) configMap(d document, object map[string]any) {
	p.named(KindConfigMap, object)
	d.start = len(*d.out)
	known := d.keys(object, nil, []keyRule{
		{key: "data", kind: mappingValue},
		{key: "binaryData", kind: mappingValue},
		{key: "immutable", kind: flagValue},
	})
	doc := DataDocument{Ref: d.head(known, "v1"), Data: make(map[string]Hidden), Origin: p.origin(d)}
	d.immutable(known)
	d.texts(doc.Data, known, "data")
	binary := make(map[string]Hidden)
	d.base64(binary, known, "binaryData", "")
	for _, key := range slices.Sorted(maps.Keys(binary)) {
		if _, double := doc.Data[key]; double {
			d.invalid(fieldPath{"binaryData", key}, "the key stands in data too; keep one of them")
		}
		doc.Data[key] = binary[key]
		doc.Binary = append(doc.Binary, key)
	}
	p.keepData(d, doc)
}

// secret reads one Secret.
func (p *parser) secret(d document, object map[string]any) {
	p.named(KindSecret, object)
	d.start = len(*d.out)
	known := d.keys(object, nil, []keyRule{
		{key: "data", kind: mappingValue},
		{key: "stringData", kind: mappingValue},
		{key: "type", kind: textValue},
		{key: "immutable", kind: flagValue},
	})
	doc := DataDocument{Ref: d.head(known, "v1"), Secret: true, Data: make(map[string]Hidden), Origin: p.origin(d)}
	d.immutable(known)
	d.base64(doc.Data, known, "data", "; plain text belongs under stringData")
	d.texts(doc.Data, known, "stringData") // wins, as in Kubernetes
	d.secretType(known)
	p.keepData(d, doc)
}

// keepData keeps a document that has no errors.
func (p *parser) keepData(d document, doc DataDocument) {
	size := 0
	for _, content := range doc.Data {
		size += len(content.value)
	}
	if size > maxDataBytes {
		d.invalid(nil, "it holds %d bytes, more than %d", size, maxDataBytes)
	}
	if !d.failed() && !d.doubledWithin() {
		p.out.Data = append(p.out.Data, doc)
	}
}

// immutable says that nothing enforces what a document promises.
func (d document) immutable(known map[string]any) {
	if promised, _ := known["immutable"].(bool); promised {
		d.report(fieldPath{"immutable"}, SeverityWarning, ClassUnsupported, "it is not enforced: a change of the manifest is taken like any other")
	}
}

// texts hides the plain texts of a mapping. What is wrong with a value is told without it.
func (d document) texts(into map[string]Hidden, known map[string]any, field string) {
	for key, value := range d.contents(known, field) {
		into[key] = Hide(value)
	}
}

// base64 hides what the texts of a mapping stand for.
func (d document) base64(into map[string]Hidden, known map[string]any, field, hint string) {
	for key, value := range d.contents(known, field) {
		plain, err := base64.StdEncoding.DecodeString(value)
		if corrupt := base64.CorruptInputError(0); errors.As(err, &corrupt) {
			d.invalid(fieldPath{field, key}, "must be base64, and is not from byte %d on%s", int64(corrupt), hint)
			continue
		}
		into[key] = Hide(string(plain))
	}
}

// contents returns the texts of a mapping whose keys and types are in order, in the order
// of their keys. Nothing is the empty text.
func (d document) contents(known map[string]any, field string) func(yield func(string, string) bool) {
	mapping, _ := known[field].(map[string]any)
	return func(yield func(string, string) bool) {
		for _, key := range slices.Sorted(maps.Keys(mapping)) {
			at := fieldPath{field, key}
			d.all(at, key, validation.IsConfigMapKey(key))
			text, ok := mapping[key].(string)
			if !ok && mapping[key] != nil {
				d.invalid(at, "must be a text, is %s; put it in quotes", nature(mapping[key]))
				continue
			}
			if !yield(key, text) {
				return
			}
		}
	}
}

// secretType checks that a Secret of a type that Kubernetes knows has the keys that the
// type is about.
func (d document) secretType(known map[string]any) {
	kind, _ := known["type"].(string)
	switch kind {
	case "kubernetes.io/tls":
		d.needs(known, kind, "tls.crt")
		d.needs(known, kind, "tls.key")
	case "kubernetes.io/ssh-auth":
		d.needs(known, kind, "ssh-privatekey")
	case "kubernetes.io/basic-auth":
		d.needs(known, kind, "username", "password")
	case "kubernetes.io/dockercfg":
		d.needs(known, kind, ".dockercfg")
	case "kubernetes.io/dockerconfigjson":
		d.needs(known, kind, ".dockerconfigjson")
	case "kubernetes.io/service-account-token":
		d.report(fieldPath{"type"}, SeverityWarning, ClassUnsupported, "there is no API server to have accounts at: no token is made")
	}
}

// needs demands one of the keys.
func (d document) needs(known map[string]any, kind string, keys ...string) {
	for _, field := range []string{"data", "stringData"} {
		mapping, _ := known[field].(map[string]any)
		for _, key := range keys {
			if _, ok := mapping[key]; ok {
				return
			}
		}
	}
	d.invalid(fieldPath{"data", keys[0]}, "required: a Secret of type %s has it", kind)
}
