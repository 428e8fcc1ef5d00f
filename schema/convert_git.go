package schema

import (
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// A gitRepo volume is an emptyDir that an init container clones into before all others:
// git runs in the pod's VM, where what a repository makes it do harms nobody else.
const (
	// gitImage has git and a shell.
	gitImage = "alpine/git:latest"
	gitPath  = "/repository"
	// gitScript clones $1 into $2 and checks out $3. A clone that was cut short is made
	// anew, a whole one is left as it is.
	gitScript = `set -e
if [ -e "$2/.git/whole" ]; then exit 0; fi
find . -mindepth 1 -maxdepth 1 -exec rm -rf {} +
git clone -- "$1" "$2"
if [ -n "$3" ]; then git -C "$2" checkout "$3"; git -C "$2" reset --hard; fi
touch "$2/.git/whole"`
)

// clone is the init container that fills a gitRepo volume.
func (d document) clone(volume string, m *gitManifest, p fieldPath) Container {
	if m.Repository == "" {
		d.invalid(p.key("repository"), "required")
	}
	d.noFlag(m.Repository, p.key("repository"))
	d.noFlag(m.Revision, p.key("revision"))
	d.noFlag(m.Directory, p.key("directory"))
	d.relative(m.Directory, p.key("directory"))
	if d.opt.RequireDigest && ByTag(gitImage) {
		d.reportRule(RuleImageByTag, p, SeverityError, ClassInvalid,
			"it is cloned by the image %s, which is named by tag only, and digests are required: clone in an init container of your own, into an emptyDir", gitImage)
	}
	dir := m.Directory
	if dir == "" {
		dir = strings.TrimSuffix(path.Base(strings.TrimRight(m.Repository, "/")), ".git")
	}
	name := "git-" + volume
	return Container{
		Name:            strings.TrimRight(name[:min(len(name), validation.DNS1123LabelMaxLength)], "-"),
		Image:           gitImage,
		ImagePullPolicy: defaultPull(gitImage),
		Command:         []string{"sh", "-c", gitScript, "sh", m.Repository, dir, m.Revision},
		WorkingDir:      gitPath,
		Mounts:          []VolumeMount{{Volume: volume, Path: gitPath}},
	}
}

// noFlag refuses what a program would take for a flag.
func (d document) noFlag(word string, p fieldPath) {
	if strings.HasPrefix(word, "-") {
		d.invalid(p, "%q: must not begin with '-'", shorten(word))
	}
}
