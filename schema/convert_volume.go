package schema

// defaultFileMode is the mode of files from configMaps, secrets and the like.
const defaultFileMode = 0o644

// volume converts one volume and adds it to the pod. A volume without a source is an
// emptyDir, as in Kubernetes.
func (d document) volume(pod *Pod, m *volumeManifest, p fieldPath) {
	d.oneSource(m, p)
	d.volumeRules(m, p)
	v := Volume{Name: m.Name}
	switch {
	case m.HostPath != nil:
		v.HostPath = m.HostPath
	case m.Secret != nil:
		v.Files = &Files{Sources: []FilesSource{m.Secret.source(FilesSource{Secret: m.Secret.SecretName}, m.Secret.DefaultMode)}}
	case m.ConfigMap != nil:
		v.Files = &Files{Sources: []FilesSource{m.ConfigMap.source(FilesSource{ConfigMap: m.ConfigMap.Name}, m.ConfigMap.DefaultMode)}}
	case m.DownwardAPI != nil:
		v.Files = &Files{Sources: []FilesSource{downward(m.DownwardAPI.Items, m.DownwardAPI.DefaultMode)}}
	case m.Projected != nil:
		v.Files = projected(m.Projected.Sources, m.Projected.DefaultMode)
	case m.PersistentVolumeClaim != nil:
		v.Claim = &Claim{Name: m.PersistentVolumeClaim.ClaimName, ReadOnly: m.PersistentVolumeClaim.ReadOnly}
	case m.Ephemeral != nil:
		v.Claim = &Claim{}
		if t := m.Ephemeral.VolumeClaimTemplate; t != nil {
			at := p.key("ephemeral").key("volumeClaimTemplate").key("spec")
			v.Claim.SizeBytes = d.claimSize(t.Spec.Resources.Requests, at.key("resources").key("requests"))
		}
	case m.Image != nil:
		v.Image = &ImageVolume{Reference: m.Image.Reference, PullPolicy: m.Image.PullPolicy}
		if v.Image.PullPolicy == "" {
			v.Image.PullPolicy = defaultPull(v.Image.Reference)
		}
	case m.GitRepo != nil:
		pod.EmptyDirs = append(pod.EmptyDirs, EmptyDir{Name: m.Name})
		pod.InitContainers = append(pod.InitContainers, d.clone(m.Name, m.GitRepo, p.key("gitRepo")))
		return
	default:
		pod.EmptyDirs = append(pod.EmptyDirs, d.emptyDir(m, p))
		return
	}
	pod.Volumes = append(pod.Volumes, v)
}

func (d document) emptyDir(m *volumeManifest, p fieldPath) EmptyDir {
	e := EmptyDir{Name: m.Name}
	if m.EmptyDir != nil {
		e.Medium = m.EmptyDir.Medium
		e.SizeLimitBytes = d.bytes(m.EmptyDir.SizeLimit, p.key("emptyDir").key("sizeLimit"))
	}
	return e
}

// claimSize is the storage that a claim asks for: Kubernetes demands that it says.
func (d document) claimSize(requests map[string]quantity, p fieldPath) int64 {
	q, ok := requests["storage"]
	if !ok {
		d.invalid(p.key("storage"), "required: the size of the volume")
		return 0
	}
	before := len(*d.out)
	n := d.bytes(q, p.key("storage"))
	if n == 0 && len(*d.out) == before {
		d.invalid(p.key("storage"), "must be greater than 0")
	}
	return n
}

// source fills in what secrets and configMaps have in common.
func (m *filesManifest) source(s FilesSource, mode *int64) FilesSource {
	s.Mode, s.Optional = fileMode(mode), m.Optional
	for _, item := range m.Items {
		file := FileItem{Path: item.Path, From: ValueSource{ConfigMap: s.ConfigMap, Secret: s.Secret, Key: item.Key}}
		if item.Mode != nil {
			mode := fileMode(item.Mode)
			file.Mode = &mode
		}
		s.Items = append(s.Items, file)
	}
	return s
}

// downward is a source of the downward API.
func downward(items []downwardFile, mode *int64) FilesSource {
	s := FilesSource{Mode: fileMode(mode)}
	for _, item := range items {
		file := FileItem{Path: item.Path}
		switch {
		case item.FieldRef != nil:
			file.From = *item.FieldRef.source()
		case item.ResourceFieldRef != nil:
			file.From = *item.ResourceFieldRef.source()
		}
		if item.Mode != nil {
			mode := fileMode(item.Mode)
			file.Mode = &mode
		}
		s.Items = append(s.Items, file)
	}
	return s
}

// projected keeps the sources in order: of two files at one path the later is meant.
func projected(sources []projection, mode *int64) *Files {
	files := &Files{Sources: []FilesSource{}}
	for _, m := range sources {
		switch {
		case m.Secret != nil:
			files.Sources = append(files.Sources, m.Secret.source(FilesSource{Secret: m.Secret.Name}, mode))
		case m.ConfigMap != nil:
			files.Sources = append(files.Sources, m.ConfigMap.source(FilesSource{ConfigMap: m.ConfigMap.Name}, mode))
		case m.DownwardAPI != nil:
			files.Sources = append(files.Sources, downward(m.DownwardAPI.Items, mode))
		case m.ServiceAccountToken != nil:
			files.Sources = append(files.Sources, FilesSource{Mode: fileMode(mode), Optional: true})
		}
	}
	return files
}

// fileMode is a mode within bounds, which volumeRules has checked.
func fileMode(mode *int64) uint32 {
	if mode == nil || *mode < 0 || *mode > maxFileMode {
		return defaultFileMode
	}
	return uint32(*mode)
}

// maxFileMode is what a mode of Kubernetes' may be.
const maxFileMode = 0o777
