package sandbox

import (
	"math"
	"strconv"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// unlimited is a limit that there is none of.
const unlimited = math.MaxUint64

// parseLimit reads a file of one number, or "max". What is no number is 0.
func parseLimit(text string) uint64 {
	text = strings.TrimSpace(text)
	if text == "max" {
		return unlimited
	}
	return parseNumber(text)
}

func parseNumber(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// parseKeyed reads a file of lines "key number".
func parseKeyed(text string) map[string]uint64 {
	values := map[string]uint64{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			values[key] = parseNumber(value)
		}
	}
	return values
}

// parseIO reads io.stat, of lines "8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...".
func parseIO(text string) []*sandboxpb.BlockIOEntry {
	var devices []*sandboxpb.BlockIOEntry
	for line := range strings.Lines(text) {
		device, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		major, minor, ok := strings.Cut(device, ":")
		if !ok {
			continue
		}
		e := &sandboxpb.BlockIOEntry{Major: parseNumber(major), Minor: parseNumber(minor)}
		for pair := range strings.FieldsSeq(rest) {
			key, value, _ := strings.Cut(pair, "=")
			switch n := parseNumber(value); key {
			case "rbytes":
				e.ReadBytes = n
			case "wbytes":
				e.WriteBytes = n
			case "rios":
				e.ReadOperations = n
			case "wios":
				e.WriteOperations = n
			}
		}
		devices = append(devices, e)
	}
	return devices
}

// parseNetwork reads /proc/PID/net/dev, without the loopback.
func parseNetwork(text string) []*sandboxpb.NetworkStats {
	var stats []*sandboxpb.NetworkStats
	for line := range strings.Lines(text) {
		name, counts, ok := strings.Cut(strings.TrimSpace(line), ":")
		f := strings.Fields(counts)
		if !ok || name == "lo" || len(f) < 11 {
			continue
		}
		stats = append(stats, &sandboxpb.NetworkStats{
			Interface:     name,
			ReceivedBytes: parseNumber(f[0]), ReceivedPackets: parseNumber(f[1]), ReceivedErrors: parseNumber(f[2]),
			TransmittedBytes: parseNumber(f[8]), TransmittedPackets: parseNumber(f[9]), TransmittedErrors: parseNumber(f[10]),
		})
	}
	return stats
}

// memoryStats makes the statistics of what memory.stat says.
func memoryStats(stat map[string]uint64) *sandboxpb.MemoryStats {
	return &sandboxpb.MemoryStats{
		CacheBytes: stat["file"], KernelStackBytes: stat["kernel_stack"], SlabBytes: stat["slab"],
		PageFaults: stat["pgfault"], MajorPageFaults: stat["pgmajfault"], InactiveFile: stat["inactive_file"], Anon: stat["anon"],
		WorkingsetRefaultAnon: stat["workingset_refault_anon"], WorkingsetRefaultFile: stat["workingset_refault_file"],
		PgstealKswapd: stat["pgsteal_kswapd"], PgstealDirect: stat["pgsteal_direct"], PgstealKhugepaged: stat["pgsteal_khugepaged"],
	}
}

func cpuStats(stat map[string]uint64) *sandboxpb.CPUStats {
	return &sandboxpb.CPUStats{
		UsageUsec: stat["usage_usec"], UserUsec: stat["user_usec"], SystemUsec: stat["system_usec"],
		ThrottlingPeriods: stat["nr_periods"], ThrottledPeriods: stat["nr_throttled"], ThrottledTimeUsec: stat["throttled_usec"],
	}
}

func memoryEvents(events map[string]uint64) *sandboxpb.MemoryEventStats {
	return &sandboxpb.MemoryEventStats{
		Low: events["low"], High: events["high"], Max: events["max"],
		Oom: events["oom"], OomKill: events["oom_kill"], OomGroupKill: events["oom_group_kill"],
	}
}
