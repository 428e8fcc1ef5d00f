package schema

import (
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// oneSource demands that a volume has no more than one source.
func (d document) oneSource(m *volumeManifest, p fieldPath) {
	var set []string
	for _, source := range []struct {
		key string
		set bool
	}{
		{"emptyDir", m.EmptyDir != nil}, {"hostPath", m.HostPath != nil}, {"secret", m.Secret != nil}, {"configMap", m.ConfigMap != nil},
		{"downwardAPI", m.DownwardAPI != nil}, {"projected", m.Projected != nil}, {"persistentVolumeClaim", m.PersistentVolumeClaim != nil},
		{"ephemeral", m.Ephemeral != nil}, {"image", m.Image != nil}, {"gitRepo", m.GitRepo != nil},
	} {
		if source.set {
			set = append(set, source.key)
		}
	}
	if len(set) > 1 {
		d.invalid(p.key(set[1]), "may not specify more than 1 volume type; it is %s too", set[0])
	}
}

// volumeRules look at what the volume's source says.
func (d document) volumeRules(m *volumeManifest, p fieldPath) {
	switch {
	case m.HostPath != nil:
		d.hostPathRules(m.HostPath.Path, p.key("hostPath").key("path"))
	case m.Secret != nil:
		d.objectName(m.Secret.SecretName, p.key("secret").key("secretName"))
		d.filesRules(&m.Secret.filesManifest, p.key("secret"))
	case m.ConfigMap != nil:
		d.objectName(m.ConfigMap.Name, p.key("configMap").key("name"))
		d.filesRules(&m.ConfigMap.filesManifest, p.key("configMap"))
	case m.DownwardAPI != nil:
		d.modeRule(m.DownwardAPI.DefaultMode, p.key("downwardAPI").key("defaultMode"))
		d.downwardRules(m.DownwardAPI.Items, p.key("downwardAPI").key("items"), make(map[string]bool))
	case m.PersistentVolumeClaim != nil:
		d.objectName(m.PersistentVolumeClaim.ClaimName, p.key("persistentVolumeClaim").key("claimName"))
	case m.Ephemeral != nil && m.Ephemeral.VolumeClaimTemplate != nil:
		d.accessModes(m.Ephemeral.VolumeClaimTemplate.Spec.AccessModes, p.key("ephemeral").key("volumeClaimTemplate").key("spec").key("accessModes"))
	case m.Image != nil:
		d.image(m.Image.Reference, p.key("image").key("reference"))
	}
}

// objectName demands the name of a document.
func (d document) objectName(name string, p fieldPath) {
	if name != "" {
		d.all(p, name, validation.IsDNS1123Subdomain(name))
	}
}

func (d document) hostPathRules(file string, p fieldPath) {
	switch {
	case file == "":
	case slices.Contains(strings.Split(file, "/"), ".."):
		d.invalid(p, "%q: must not contain '..'", shorten(file))
	case !path.IsAbs(file):
		d.invalid(p, "%q: must be an absolute path", shorten(file))
	}
}

func (d document) accessModes(modes []string, p fieldPath) {
	known := []string{"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"}
	if len(modes) == 0 {
		d.invalid(p, "required: at least one of %s", list(known))
	}
	for i, mode := range modes {
		d.oneOf(mode, known, p.index(i))
	}
}

// oneOf demands one of several words.
func (d document) oneOf(word string, allowed []string, p fieldPath) {
	if !slices.Contains(allowed, word) {
		d.invalid(p, "must be one of %s, is %q%s", list(allowed), shorten(word), suggestFor(word, allowed))
	}
}

// filesRules are those of the files that a configMap or secret gives.
func (d document) filesRules(m *filesManifest, p fieldPath) {
	d.modeRule(m.DefaultMode, p.key("defaultMode"))
	d.itemRules(m.Items, p.key("items"))
}

func (d document) itemRules(items []keyToPath, p fieldPath) {
	for i, item := range items {
		d.relative(item.Path, p.index(i).key("path"))
		d.modeRule(item.Mode, p.index(i).key("mode"))
	}
}

func (d document) modeRule(mode *int64, p fieldPath) {
	if mode != nil && (*mode < 0 || *mode > maxFileMode) {
		d.invalid(p, "must be a number between 0 and 0777 (octal), both inclusive, is %d (%#o)", *mode, *mode)
	}
}

// relative demands a path that stays within its volume.
func (d document) relative(file string, p fieldPath) {
	switch {
	case path.IsAbs(file):
		d.invalid(p, "%q: must be a relative path", shorten(file))
	case slices.Contains(strings.Split(file, "/"), ".."):
		d.invalid(p, "%q: must not contain '..'", shorten(file))
	case strings.HasPrefix(file, ".."):
		d.invalid(p, "%q: must not start with '..'", shorten(file))
	}
}

// downwardRules are those of files of the downward API; taken are the paths there are.
func (d document) downwardRules(items []downwardFile, p fieldPath, taken map[string]bool) {
	for i, item := range items {
		at := p.index(i)
		d.relative(item.Path, at.key("path"))
		if item.Path != "" && taken[path.Clean(item.Path)] {
			d.invalid(at.key("path"), "%q: two files have this path", shorten(item.Path))
		}
		taken[path.Clean(item.Path)] = true
		d.modeRule(item.Mode, at.key("mode"))
		switch {
		case item.FieldRef != nil && item.ResourceFieldRef != nil:
			d.invalid(at, "fieldRef and resourceFieldRef can not be specified simultaneously")
		case item.FieldRef != nil:
			d.fieldRule(item.FieldRef, at.key("fieldRef"), volumeFields())
		case item.ResourceFieldRef != nil:
			d.resourceRule(item.ResourceFieldRef, at.key("resourceFieldRef"), true)
		default:
			d.invalid(at, "required: one of fieldRef and resourceFieldRef is required")
		}
	}
}
