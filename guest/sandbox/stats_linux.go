package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// ContainerStatistics implements sandboxpb.SandboxContextServer. Without ids it lists all that run,
// those of the guest's pod too, by id; without categories it has all.
func (s Service) ContainerStatistics(_ context.Context, req *sandboxpb.ContainerStatisticsRequest) (*sandboxpb.ContainerStatisticsResponse, error) {
	groups, err := s.opt.Containers.ContainerCgroups()
	if err != nil {
		return nil, failure(err, "container statistics")
	}
	ids := req.GetContainerIds()
	if len(ids) == 0 {
		ids = slices.Sorted(maps.Keys(groups))
	}
	r := &sandboxpb.ContainerStatisticsResponse{}
	for _, id := range ids {
		stats, err := containerStats(groups[id], id, req.GetCategories())
		if errors.Is(err, agent.ErrNotFound) && len(req.GetContainerIds()) == 0 {
			continue // it ended meanwhile
		}
		if err != nil {
			return nil, failure(err, "statistics of container %s", id)
		}
		r.Containers = append(r.Containers, stats)
	}
	return r, nil
}

// containerStats reads a cgroup; "" is that of no container. A file that the kernel does not have counts as empty.
func containerStats(dir, id string, categories []sandboxpb.StatCategory) (*sandboxpb.ContainerStats, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, agent.ErrNotFound
	}
	want := func(c sandboxpb.StatCategory) bool {
		return len(categories) == 0 || slices.Contains(categories, c)
	}
	var errs []error
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, unix.ENODEV) { // the cgroup is gone
			err = fmt.Errorf("%w: %w", agent.ErrNotFound, err)
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		errs = append(errs, err)
		return string(text)
	}
	stats := &sandboxpb.ContainerStats{ContainerId: id}
	if want(sandboxpb.StatCategory_STAT_CATEGORY_PROCESS) {
		stats.Process = &sandboxpb.ProcessStats{Current: parseLimit(read("pids.current")), Limit: parseLimit(read("pids.max"))}
	}
	if want(sandboxpb.StatCategory_STAT_CATEGORY_MEMORY) {
		stats.Memory = memoryStats(parseKeyed(read("memory.stat")))
		stats.Memory.UsageBytes, stats.Memory.LimitBytes = parseLimit(read("memory.current")), parseLimit(read("memory.max"))
		stats.Memory.SwapUsageBytes, stats.Memory.SwapLimitBytes = parseLimit(read("memory.swap.current")), parseLimit(read("memory.swap.max"))
	}
	if want(sandboxpb.StatCategory_STAT_CATEGORY_CPU) {
		stats.Cpu = cpuStats(parseKeyed(read("cpu.stat")))
	}
	if want(sandboxpb.StatCategory_STAT_CATEGORY_BLOCK_IO) {
		stats.BlockIo = &sandboxpb.BlockIOStats{Devices: parseIO(read("io.stat"))}
	}
	if want(sandboxpb.StatCategory_STAT_CATEGORY_NETWORK) {
		stats.Networks = networkStats(read("cgroup.procs"))
	}
	if want(sandboxpb.StatCategory_STAT_CATEGORY_MEMORY_EVENTS) {
		stats.MemoryEvents = memoryEvents(parseKeyed(read("memory.events")))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return stats, nil
}

// networkStats are those of the network namespace that the first process is in: the machine's,
// unless the container has one of its own.
func networkStats(processes string) []*sandboxpb.NetworkStats {
	for line := range strings.Lines(processes) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			continue
		}
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid)); err == nil {
			return parseNetwork(string(text))
		}
	}
	return nil
}
