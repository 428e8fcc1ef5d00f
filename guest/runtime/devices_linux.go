package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// progLoad and progAttach are the beginnings of union bpf_attr for two commands.
type progLoad struct {
	progType, insnCount uint32
	insns, license      uint64
	logLevel, logSize   uint32
	logBuf              uint64
	kernVersion, flags  uint32
}

type progAttach struct {
	target, program, attachType, flags uint32
}

// restrictDevices lets the processes of a cgroup, and of all below, use the
// allowed devices only. (What the OCI runtime can be told adds to defaults of its
// own, the console among them.)
func restrictDevices(cgroupDir string) error {
	program, err := loadDeviceProgram(deviceProgram(allowedDevices()))
	if err != nil {
		return fmt.Errorf("load device rules: %w", err)
	}
	defer func() { _ = unix.Close(program) }() // the cgroup holds it
	dir, err := os.Open(cgroupDir)
	if err != nil {
		return fmt.Errorf("attach device rules: %w", err)
	}
	defer func() { _ = dir.Close() }() // a directory
	attr := progAttach{
		target: uint32(dir.Fd()), program: uint32(program), attachType: unix.BPF_CGROUP_DEVICE, flags: unix.BPF_F_ALLOW_MULTI,
	}
	if _, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return fmt.Errorf("attach device rules: %w", err)
	}
	return nil
}

// loadDeviceProgram has the kernel verify and load a program.
func loadDeviceProgram(code []byte) (fd int, err error) {
	if len(code) == 0 {
		return -1, errors.New("no program")
	}
	license := []byte("Apache-2.0\x00")
	// The kernel gets addresses as numbers, which the garbage collector does not see:
	// what they point to must stay, and stay where it is.
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&code[0])
	pin.Pin(&license[0])
	attr := progLoad{
		progType:  unix.BPF_PROG_TYPE_CGROUP_DEVICE,
		insnCount: uint32(len(code) / instructionSize),
		insns:     uint64(uintptr(unsafe.Pointer(&code[0]))),
		license:   uint64(uintptr(unsafe.Pointer(&license[0]))),
	}
	return bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
}

// machineDevices lists the devices below dir, as the names of nodes and what they stand for.
// Left out are what every container has of its own, and the port that the pod's host is
// reached by.
func machineDevices(dir string) ([]specs.LinuxDevice, error) {
	var devices []specs.LinuxDevice
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a disk may go at any time
		}
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != dir && (name == "pts" || name == "shm" || name == "mqueue" || name == "fd") {
				return filepath.SkipDir
			}
			return nil
		}
		if d.Type()&fs.ModeDevice == 0 || name == "console" || name == "ptmx" || strings.HasPrefix(name, "vport") {
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		kind, mode := "b", fs.FileMode(st.Mode)&fs.ModePerm
		if st.Mode&unix.S_IFMT == unix.S_IFCHR {
			kind = "c"
		}
		devices = append(devices, specs.LinuxDevice{
			Path: path, Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
			FileMode: &mode, UID: &st.Uid, GID: &st.Gid,
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	return devices, nil
}

func bpf(command uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}
