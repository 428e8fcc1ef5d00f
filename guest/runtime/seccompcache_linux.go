package runtime

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// bpfAnnotation gives crun a filter that is compiled already, in base64.
const bpfAnnotation = "run.oci.seccomp_bpf_data"

// bpfFile is where crun keeps a container's compiled filter, in its state directory.
const bpfFile = "seccomp.bpf"

const (
	// maxFilters bounds how many filters are kept; pods have a few at most.
	maxFilters = 32
	// maxFilter is the greatest filter the kernel takes: BPF_MAXINSNS instructions of 8 bytes.
	maxFilter = 4096 * 8
)

// filterKey identifies a seccomp profile. The zero value: none.
type filterKey [sha256.Size]byte

// filterCache has compiled filters: crun takes longer to compile one than for all else.
type filterCache struct {
	dir     string // crun's state directory
	mu      sync.Mutex
	filters map[filterKey]string // in base64
}

// use puts the compiled filter in the place of the spec's profile, if there is one. key is
// what to keep it under after the container has started.
func (f *filterCache) use(spec *specs.Spec) (key filterKey, err error) {
	profile := spec.Linux.Seccomp
	if profile == nil {
		return filterKey{}, nil
	}
	text, err := json.Marshal(profile)
	if err != nil {
		return filterKey{}, fmt.Errorf("seccomp profile: %w", err)
	}
	key = sha256.Sum256(text)
	f.mu.Lock()
	defer f.mu.Unlock()
	if bpf, ok := f.filters[key]; ok {
		// The rest of the profile tells crun how to apply it, in exec too. Should it ever
		// take no notice of the compiled one, nothing is allowed.
		spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Flags: profile.Flags}
		spec.Annotations = map[string]string{bpfAnnotation: bpf}
	}
	return key, nil
}

// keep takes the filter that crun has compiled for a container that has started.
func (f *filterCache) keep(key filterKey, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.filters[key]; ok || key == (filterKey{}) || len(f.filters) >= maxFilters {
		return nil
	}
	bpf, err := os.ReadFile(filepath.Join(f.dir, id, bpfFile))
	if err == nil && (len(bpf) == 0 || len(bpf) > maxFilter) {
		err = errors.New("it is empty or too large")
	}
	if err != nil {
		return fmt.Errorf("keep seccomp filter: %w", err)
	}
	if f.filters == nil {
		f.filters = map[filterKey]string{}
	}
	f.filters[key] = base64.StdEncoding.EncodeToString(bpf)
	return nil
}
