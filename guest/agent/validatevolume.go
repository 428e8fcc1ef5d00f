package agent

import (
	"strings"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// Bounds of volumes that are no emptyDirs.
const (
	maxVolumes      = 128
	maxFiles        = 4096
	maxFileBytes    = 3 << 20  // of a volume's files with their paths: a message must hold them
	maxAllFileBytes = 64 << 20 // of all volumes: they are in the machine's memory
	maxComponent    = 255      // of a file's path
)

func checkVolume(req *agentpb.AddVolumeRequest) error {
	if err := checkName("volume name", req.GetName(), maxName); err != nil {
		return err
	}
	if err := checkDigest("volume digest", req.GetDigest()); err != nil {
		return err
	}
	if err := checkManifest("volume manifest", req.GetManifest()); err != nil {
		return err
	}
	switch s := req.GetSource().(type) {
	case *agentpb.AddVolumeRequest_Files:
		return checkFiles(req)
	case *agentpb.AddVolumeRequest_Share:
		return checkName("share name", s.Share.GetShare(), maxName)
	case *agentpb.AddVolumeRequest_Disk:
		return checkName("disk id", s.Disk.GetDisk(), maxName)
	}
	return invalid("volume has no source")
}

// checkFiles demands paths that can all be there at once. Their contents are not looked at,
// nor told in errors.
func checkFiles(req *agentpb.AddVolumeRequest) error {
	files := req.GetFiles().GetFiles()
	if len(files) > maxFiles {
		return invalid("%d files, more than %d", len(files), maxFiles)
	}
	if n := fileBytes(req); n > maxFileBytes {
		return invalid("files of %d bytes, more than %d", n, maxFileBytes)
	}
	isFile := make(map[string]bool, len(files))
	for _, f := range files {
		p := f.GetPath()
		if err := CheckPath(p); err != nil {
			return err
		}
		if strings.HasPrefix(p, "..") {
			return invalid("path %q begins with two dots", p)
		}
		for c := range strings.SplitSeq(p, "/") {
			if len(c) > maxComponent {
				return invalid("path %q has a component of %d bytes, more than %d", p, len(c), maxComponent)
			}
		}
		if f.GetMode()&^0o777 != 0 {
			return invalid("mode %#o of %q is not within 0 and 0777", f.GetMode(), p)
		}
		if isFile[p] {
			return invalid("two files at %q", p)
		}
		isFile[p] = true
	}
	for p := range isFile {
		for i, c := range p {
			if c == '/' && isFile[p[:i]] {
				return invalid("%q is a file and a directory", p[:i])
			}
		}
	}
	return nil
}

// fileBytes is the size of a volume's files with their paths.
func fileBytes(req *agentpb.AddVolumeRequest) int {
	n := 0
	for _, f := range req.GetFiles().GetFiles() {
		n += len(f.GetPath()) + len(f.GetData())
	}
	return n
}
