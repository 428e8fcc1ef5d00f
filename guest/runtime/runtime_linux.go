package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/ocispec"
	"github.com/firkin-dev/firkin-reconcile/guest/runtime/pid1"
	"github.com/firkin-dev/firkin-reconcile/guest/runtime/reap"
)

const (
	runDir     = "/run/firkin/crun" // crun's own state
	consoleDir = "/run/firkin/console"
	bundlesDir = "/run/firkin/bundles"
	cgroupRoot = "/sys/fs/cgroup"
	// Parents of the containers' cgroups; devices are kept from those of the first.
	containersCgroup = "containers"
	privilegedCgroup = "privileged"
)

// Runtime is the agent's Runtime on Linux. There can be one per system.
type Runtime struct {
	reaper *reap.Reaper
	log    logr.Logger
	crun   *program
	bootID string
	ready  <-chan struct{}

	fixedLayout bool  // see Options.FixedLayout
	maxPIDs     int64 // of one container

	mu         sync.Mutex
	podDir     string // "" until the store is open
	hostname   string
	network    *agentpb.NetworkConfig
	containers map[string]*container
	templates  map[string]*template // by disk id
	fsGroup    *int                 // the group that owns volumes, nil for none
	processes  processSpace
	filters    filterCache

	stateMu   sync.Mutex
	statePath string // where stateSeq holds, "" for nowhere
	stateSeq  uint64 // number of the state that was saved last

	pauseMu sync.Mutex  // held while pause is started
	pause   *reap.Child // the first process of the namespace that containers share

	volumesDir string
	volumesMu  sync.Mutex
	volumes    map[string]*podVolume // by name

	disksMu sync.Mutex // held while disks and shares are mounted
	disks   map[string]*volumeDisk
}

var _ agent.Runtime = (*Runtime)(nil)

// container is a prepared container.
type container struct {
	id      string
	dir     string
	process *specs.Process // as in its spec; exec starts from it
	cgroup  cgroup
	stdin   bool
	filter  filterKey
	disk    string   // its template disk, "" when it has none
	binds   []string // mounts made for it in the guest, beside its root
}

// Options of a Runtime.
type Options struct {
	// Reaper starts and reaps every process.
	Reaper *reap.Reaper
	Log    logr.Logger
	// Crun is the path of the OCI runtime.
	Crun string
	// Ready is closed once the kernel can do all that is asked of it; nil: it can now.
	Ready <-chan struct{}
	// FixedLayout has the OCI runtime, not its containers, loaded at the same addresses each
	// time: that is much faster where the processor is emulated.
	FixedLayout bool
}

// New makes a Runtime and prepares the system for containers.
func New(opt Options) (*Runtime, error) {
	crun, err := sealProgram(opt.Crun)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{runDir, consoleDir, bundlesDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make runtime directory: %w", err)
		}
	}
	threads, err := threadsMax()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(prepareCgroups(threads), mountShm()); err != nil {
		return nil, err
	}
	return &Runtime{
		reaper: opt.Reaper, log: opt.Log, crun: crun, ready: opt.Ready, fixedLayout: opt.FixedLayout,
		maxPIDs:    threads / containerPart,
		containers: map[string]*container{}, templates: map[string]*template{},
		filters:    filterCache{dir: runDir},
		volumesDir: volumesDir, volumes: map[string]*podVolume{}, disks: map[string]*volumeDisk{},
	}, nil
}

// BootID implements agent.Runtime. It is empty until Wake.
func (r *Runtime) BootID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bootID
}

// SetTime implements agent.Runtime.
func (r *Runtime) SetTime(t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return fmt.Errorf("set clock: %w", err)
	}
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		return fmt.Errorf("set clock: %w", err)
	}
	return nil
}

// PowerOff implements agent.Runtime.
func (r *Runtime) PowerOff() error {
	return pid1.PowerOff()
}

var errNoStore = errors.New("store is not open")

// pod returns a path in the pod's directory of the store.
func (r *Runtime) pod(elem ...string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.podDir == "" {
		return "", errNoStore
	}
	return filepath.Join(append([]string{r.podDir}, elem...)...), nil
}

// podDir is the pod's directory in the store.
func podDir(pod *agentpb.PodIdentity) (string, error) {
	for _, s := range []string{pod.GetNamespace(), pod.GetName()} {
		if !pathSafe(s) {
			return "", fmt.Errorf("pod %q/%q: name is not safe in a path", pod.GetNamespace(), pod.GetName())
		}
	}
	return ocispec.PodDir(pod), nil
}

// poll calls done every interval until it is true or ctx ends.
func poll(ctx context.Context, interval time.Duration, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(interval):
		}
	}
}
