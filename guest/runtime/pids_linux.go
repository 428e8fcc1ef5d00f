package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The kernel has as many threads as an eighth of its memory is for (1236 with 256 MiB).
// One container may have half of them, and all together three quarters: a container that
// forks for ever leaves some to the others, and to the agent.
const (
	containerPart = 2
	reservedPart  = 4
)

// threadsMax is how many threads the kernel can have.
func threadsMax() (int64, error) {
	data, err := os.ReadFile("/proc/sys/kernel/threads-max")
	if err != nil {
		return 0, fmt.Errorf("limit processes: %w", err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("limit processes: %w", err)
	}
	return n, nil
}

// limitPIDs bounds the processes and threads of all containers below the cgroup dir.
func limitPIDs(dir string, threads int64) error {
	limit := strconv.FormatInt(threads-threads/reservedPart, 10)
	if err := os.WriteFile(filepath.Join(dir, "pids.max"), []byte(limit), 0); err != nil {
		return fmt.Errorf("limit processes: %w", err)
	}
	return nil
}
