//go:build linux

package crash

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// step is a piece of work that the reconciler is to die in.
type step struct {
	// absent: the pod under work does not exist before it.
	absent bool
	// keeps: steady is not touched by it.
	keeps bool
	// prepare brings about what is needed; change changes what is wanted.
	prepare, change func(*testing.T, *world)
	// command does the work; apply (or run) when empty.
	command []string
	// undo changes what is wanted again, after the crash.
	undo func(*testing.T, *world)
}

func steps() map[string]step {
	nothing := func(*testing.T, *world) {}
	write := func(t *testing.T, w *world) { w.write(t) }
	newer := func(change func(*testing.T, *world)) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			w.version++
			change(t, w)
			w.write(t)
		}
	}
	list := map[string]step{
		"create": {absent: true, change: write},
		"refused": {
			absent: true,
			change: func(t *testing.T, w *world) {
				w.ports = invalidPorts
				w.write(t)
			},
			undo: func(t *testing.T, w *world) {
				w.ports = validPorts
				w.write(t)
			},
		},
		"blank":     {absent: true, prepare: dropBlanks, change: write},
		"delete":    {change: func(t *testing.T, w *world) { w.drop(t) }},
		"container": {keeps: true, change: newer(nothing)},
		"image":     {keeps: true, change: newer(func(t *testing.T, w *world) { w.changing = w.makeImage(t) })},
		"emptyDir":  {keeps: true, change: newer(func(_ *testing.T, w *world) { w.empty = other(w.empty) })},
		"volumes": {
			keeps: true,
			prepare: func(t *testing.T, w *world) {
				if !w.disks {
					w.disks = true
					newer(nothing)(t, w)
					w.apply(t)
				}
			},
			change: newer(func(_ *testing.T, w *world) {
				w.claim++
				w.kept, w.passing = smallMiB, other(w.passing)
			}),
		},
		"grow": {
			keeps: true,
			prepare: func(t *testing.T, w *world) {
				w.disks = true
				w.claim++
				w.kept = smallMiB
				newer(nothing)(t, w)
				w.apply(t)
			},
			change: newer(func(_ *testing.T, w *world) { w.kept = largeMiB }),
		},
		"start": {prepare: powerOff, change: nothing},
		"trim":  {keeps: true, change: nothing, command: []string{"trim", "worked"}},
		"fail":  {keeps: true, change: newer(breakImage), undo: newer(mendImage)},
		"heal": {
			keeps: true,
			prepare: func(t *testing.T, w *world) {
				newer(breakImage)(t, w)
				w.firkin(t, "apply", w.manifests, "--timeout", "3s") // it has to fail
			},
			change: newer(mendImage),
		},
	}
	for name, s := range list {
		if s.prepare == nil {
			s.prepare = nothing
		}
		if s.undo == nil {
			s.undo = nothing
		}
		list[name] = s
	}
	return list
}

func other(mib int) int {
	if mib == smallMiB {
		return largeMiB
	}
	return smallMiB
}

func breakImage(_ *testing.T, w *world) { w.changing = filepath.Join(w.dir, "no-image") }

func mendImage(_ *testing.T, w *world) { w.changing = w.image }

// dropBlanks has the next machine's store made from nothing.
func dropBlanks(t *testing.T, w *world) {
	t.Helper()
	blanks, err := filepath.Glob(filepath.Join(w.state, "cache", "blank", "*.img"))
	if err != nil || len(blanks) == 0 {
		t.Fatalf("no blank stores: %v", err)
	}
	for _, b := range blanks {
		if err := os.Remove(b); err != nil {
			t.Fatal(err)
		}
	}
}

// powerOff ends the VM in order, as a shutdown of the host does.
func powerOff(t *testing.T, w *world) {
	t.Helper()
	id := w.pods(t)["worked"].Metadata.UID
	shims, _ := w.processes()
	for _, s := range shims {
		if s.machine == id {
			if err := syscall.Kill(s.pid, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	within(t, time.Minute, "the VM is off", func() bool {
		shims, vmms := w.processes()
		return len(shims) == 1 && len(vmms) == 1
	})
}

// reaches says which step reaches a point. Every point of the source is here, and no other.
func reaches() map[string]string {
	points := make(map[string]string)
	for step, list := range map[string]map[string][]string{
		"create": {
			"actual":      {"podCreating", "podCreated", "podConfiguring", "podConfigured", "containerWaiting", "containerWaited"},
			"driver/shim": {"layDirMade", "layLocked", "storeBlankReady", "storeCloneBegun", "layStoreMade", "layJoined", "layRecorded", "layNamed", "bootStaleRemoved", "spawnBefore", "spawned", "spawnLockHanded"},
		},
		"blank":   {"driver/shim": {"storeBlankLocked"}, "driver/ext4": {"ext4Opened"}},
		"refused": {"actual": {"podUndoing", "podUndone"}},
		"delete": {
			"actual":      {"podShuttingDown", "podShutDown", "podDeleting", "podDeleted"},
			"driver/shim": {"stopAsked", "deleteStopped", "deleteLocked", "deleteRenamed", "deleteLeft"},
		},
		"container": {
			"actual":  {"containerRemoving", "containerRemoved", "containerAttaching", "containerAdding", "containerAdded"},
			"journal": {"eventWriting", "eventWritten"},
			"state":   {"stateMakeDir", "stateLocked", "stateOwned"},
		},
		"image": {
			"image": {"imageBuilding", "imageSpoolMade", "imageUnpacked", "imageTemplateOpened", "imageTemplateWritten", "imageRenaming", "imageRenamed", "imageDirSyncing", "imageBuilt", "imageRecorded", "imageNaming"},
		},
		"emptyDir": {"actual": {"emptyDirRemoving", "emptyDirRemoved", "emptyDirAdding", "emptyDirAdded"}},
		"volumes": {
			"actual":      {"volumeRemoving", "volumeRemoved", "diskDetaching", "volumeDetached", "ephemeralMaking", "ephemeralMade", "volumeAttaching", "volumeAttached", "volumeAdding", "volumeAdded"},
			"volume":      {"claimLocked", "claimDirMade", "claimMade"},
			"driver/ext4": {"ext4Formatted", "ext4Synced"},
		},
		"grow":  {"volume": {"claimGrowing", "claimGrown"}},
		"start": {"actual": {"podStarting", "podStarted"}, "driver/shim": {"startLocked"}},
		"trim":  {"actual": {"podTrimming", "podTrimmed"}},
		"fail":  {"actual": {"failureWriting", "failureWritten"}},
		"heal":  {"actual": {"failureRemoving", "failureRemoved"}},
	} {
		for folder, names := range list {
			for _, name := range names {
				points[folder+"/"+name] = step
			}
		}
	}
	return points
}
