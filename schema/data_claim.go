package schema

// maxClaimBytes is more than any host has.
const maxClaimBytes = 64 << 40

// claimKeys are the keys of Kubernetes' PersistentVolumeClaimSpec.
func claimKeys() []keyRule {
	const oneKind = "a claim is a disk image on this machine whatever its class; it is ignored"
	return []keyRule{
		{key: "accessModes", kind: listValue},
		{key: "resources", kind: mappingValue},
		{key: "volumeMode", kind: textValue},
		{key: "storageClassName", class: classAccepted, note: oneKind},
		{key: "volumeAttributesClassName", class: classAccepted, note: oneKind},
		{key: "volumeName", class: classAccepted, note: "there are no PersistentVolumes: a claim is a disk of its own; it is ignored"},
		{key: "selector", class: ClassUnsupported, note: "there are no PersistentVolumes to choose from"},
		{key: "dataSource", class: ClassUnsupported, note: "a claim begins empty, and whoever names a source counts on its data"},
		{key: "dataSourceRef", class: ClassUnsupported, note: "a claim begins empty, and whoever names a source counts on its data"},
	}
}

// claim reads one PersistentVolumeClaim.
func (p *parser) claim(d document, object map[string]any) {
	p.named(KindClaim, object)
	d.start = len(*d.out)
	known := d.keys(object, nil, []keyRule{{key: "spec", kind: mappingValue}})
	doc := ClaimDocument{Ref: d.head(known, "v1"), Origin: p.origin(d)}
	at := fieldPath{"spec"}
	object, _ = known["spec"].(map[string]any)
	spec := d.keys(object, at, claimKeys())
	d.claimModes(spec, at.key("accessModes"))
	doc.SizeBytes = d.storage(spec, at.key("resources"))
	if mode, _ := spec["volumeMode"].(string); mode == "Block" {
		d.report(at.key("volumeMode"), SeverityError, ClassUnsupported, "not supported: a claim is a file system, not a raw disk")
	} else if mode != "" && mode != "Filesystem" {
		d.invalid(at.key("volumeMode"), `must be one of "Filesystem", "Block", is %q%s`, shorten(mode), suggest(mode, []string{"Filesystem"}))
	}
	if !d.failed() && !d.doubledWithin() {
		p.out.Claims = append(p.out.Claims, doc)
	}
}

// claimModes checks how a claim may be used, of which only one way is possible here.
func (d document) claimModes(spec map[string]any, p fieldPath) {
	values, _ := spec["accessModes"].([]any)
	modes := make([]string, len(values))
	for i, value := range values {
		mode, ok := value.(string)
		if !ok {
			d.invalid(p.index(i), "must be a text, is %s", nature(value))
			return
		}
		modes[i] = mode
	}
	d.accessModes(modes, p)
	for i, mode := range modes {
		switch {
		case mode == "ReadOnlyMany" || mode == "ReadWriteMany":
			d.report(p.index(i), SeverityWarning, ClassUnsupported, "a claim is a disk, which one pod at a time can use")
		case mode == "ReadWriteOncePod" && len(modes) > 1:
			d.invalid(p.index(i), "may not be combined with other access modes")
		}
	}
}

// storage reads the requested size; 0 when it is not in order.
func (d document) storage(spec map[string]any, p fieldPath) int64 {
	object, _ := spec["resources"].(map[string]any)
	resources := d.keys(object, p, []keyRule{
		{key: "requests", kind: mappingValue},
		{key: "limits", class: classAccepted, note: "a disk has the size that is requested; it is ignored"},
	})
	at := p.key("requests")
	object, _ = resources["requests"].(map[string]any)
	requests := d.keys(object, at, []keyRule{{key: "storage"}})
	at = at.key("storage")
	value, given := requests["storage"]
	if !given {
		d.invalid(at, "required: the size of the disk, for instance 1Gi")
		return 0
	}
	var q quantity
	if err := decode(value, &q); err != nil || nature(value) != "a text" && nature(value) != "a number" {
		d.invalid(at, "must be a quantity such as 1Gi, is %s", nature(value))
		return 0
	}
	before := len(*d.out)
	n := d.bytes(q, at)
	if len(*d.out) == before && (n < 1 || n > maxClaimBytes) {
		d.invalid(at, "must be greater than 0 and no more than %s, is %s", mebibytes(maxClaimBytes), shorten(string(q)))
	}
	return n
}
