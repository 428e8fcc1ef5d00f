//go:build cgo

package vz

import (
	"bytes"
	"fmt"
	"net"
	"sync"

	"github.com/Code-Hex/vz/v3"

	"github.com/firkin-dev/firkin-reconcile/network"
)

// Built tells whether this program can use Virtualization.framework.
const Built = true

// sharesTag is what the guest mounts the machine's shares by.
const sharesTag = "shares"

// macOS is Virtualization.framework itself.
type macOS struct{}

func newFramework() framework { return macOS{} }

// host implements framework.
func (macOS) host() (host, error) {
	release, err := askMacOS()
	if err != nil {
		return host{}, err
	}
	return host{
		minCPUs:   vz.VirtualMachineConfigurationMinimumAllowedCPUCount(),
		maxCPUs:   vz.VirtualMachineConfigurationMaximumAllowedCPUCount(),
		minMemory: vz.VirtualMachineConfigurationMinimumAllowedMemorySize(),
		maxMemory: vz.VirtualMachineConfigurationMaximumAllowedMemorySize(),
		major:     release.major,
		build:     release.build,
		saves:     savesState,
	}, nil
}

// newIdentifier implements framework.
func (macOS) newIdentifier() ([]byte, error) {
	id, err := vz.NewGenericMachineIdentifier()
	if err != nil {
		return nil, err
	}
	return bytes.Clone(id.DataRepresentation()), nil
}

// create implements framework.
func (macOS) create(c config) (machine, error) {
	loader, err := vz.NewLinuxBootLoader(c.kernel, vz.WithInitrd(c.initrd), vz.WithCommandLine(c.commandLine))
	if err != nil {
		return nil, fmt.Errorf("boot loader: %w", err)
	}
	vc, err := vz.NewVirtualMachineConfiguration(loader, c.cpus, c.memory)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	for _, add := range []func(*vz.VirtualMachineConfiguration, config) error{
		addPlatform, addDisks, addConsole, addCard, addShares, addRest,
	} {
		if err := add(vc, c); err != nil {
			return nil, err
		}
	}
	if ok, err := vc.Validate(); err != nil || !ok {
		return nil, fmt.Errorf("configuration refused by the framework: %w", err)
	}
	vm, err := vz.NewVirtualMachine(vc)
	if err != nil {
		return nil, err
	}
	m := &virtualMachine{vm: vm, config: vc, plugged: make(map[string]vz.USBDevice), end: make(chan error, 1)}
	go m.watch()
	return m, nil
}

// addPlatform gives the machine its identifier; without one the framework makes one up.
func addPlatform(vc *vz.VirtualMachineConfiguration, c config) error {
	if len(c.identifier) == 0 {
		return nil
	}
	id, err := vz.NewGenericMachineIdentifierWithData(c.identifier)
	if err != nil {
		return fmt.Errorf("identifier: %w", err)
	}
	platform, err := vz.NewGenericPlatformConfiguration(vz.WithGenericMachineIdentifier(id))
	if err != nil {
		return fmt.Errorf("platform: %w", err)
	}
	vc.SetPlatformVirtualMachineConfiguration(platform)
	return nil
}

func addDisks(vc *vz.VirtualMachineConfiguration, c config) error {
	var list []vz.StorageDeviceConfiguration
	for _, d := range c.disks {
		attachment, err := attach(d)
		if err != nil {
			return err
		}
		device, err := vz.NewVirtioBlockDeviceConfiguration(attachment)
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.id, err)
		}
		if err := device.SetBlockDeviceIdentifier(d.id); err != nil {
			return fmt.Errorf("name disk %s: %w", d.id, err)
		}
		list = append(list, device)
	}
	vc.SetStorageDevicesVirtualMachineConfiguration(list)
	return nil
}

// attach opens a disk image. The guest's flushes reach the disk; caching is the framework's choice.
func attach(d disk) (*vz.DiskImageStorageDeviceAttachment, error) {
	a, err := vz.NewDiskImageStorageDeviceAttachmentWithCacheAndSync(d.path, d.readOnly,
		vz.DiskImageCachingModeAutomatic, vz.DiskImageSynchronizationModeFsync)
	if err != nil {
		return nil, fmt.Errorf("disk %s: %w", d.id, err)
	}
	return a, nil
}

func addConsole(vc *vz.VirtualMachineConfiguration, c config) error {
	attachment, err := vz.NewFileSerialPortAttachment(c.console, true)
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	port, err := vz.NewVirtioConsoleDeviceSerialPortConfiguration(attachment)
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	vc.SetSerialPortsVirtualMachineConfiguration([]*vz.VirtioConsoleDeviceSerialPortConfiguration{port})
	return nil
}

func addCard(vc *vz.VirtualMachineConfiguration, c config) error {
	if c.card == nil {
		return nil
	}
	attachment, err := vz.NewFileHandleNetworkDeviceAttachment(c.card)
	if err != nil {
		return fmt.Errorf("network card: %w", err)
	}
	if err := attachment.SetMaximumTransmissionUnit(network.MTU); err != nil {
		return fmt.Errorf("network card: %w", err)
	}
	device, err := vz.NewVirtioNetworkDeviceConfiguration(attachment)
	if err != nil {
		return fmt.Errorf("network card: %w", err)
	}
	mac, err := vz.NewMACAddress(c.mac[:])
	if err != nil {
		return fmt.Errorf("network card: %w", err)
	}
	device.SetMACAddress(mac)
	vc.SetNetworkDevicesVirtualMachineConfiguration([]*vz.VirtioNetworkDeviceConfiguration{device})
	return nil
}

func addShares(vc *vz.VirtualMachineConfiguration, c config) error {
	if len(c.shares) == 0 {
		return nil
	}
	dirs := make(map[string]*vz.SharedDirectory, len(c.shares))
	for _, s := range c.shares {
		dir, err := vz.NewSharedDirectory(s.path, s.readOnly)
		if err != nil {
			return fmt.Errorf("share %s: %w", s.name, err)
		}
		dirs[s.name] = dir
	}
	all, err := vz.NewMultipleDirectoryShare(dirs)
	if err != nil {
		return fmt.Errorf("shares: %w", err)
	}
	device, err := vz.NewVirtioFileSystemDeviceConfiguration(sharesTag)
	if err != nil {
		return fmt.Errorf("shares: %w", err)
	}
	device.SetDirectoryShare(all)
	vc.SetDirectorySharingDevicesVirtualMachineConfiguration([]vz.DirectorySharingDeviceConfiguration{device})
	return nil
}

// addRest adds what every machine has: vsock for the link, entropy, a balloon, and a USB
// controller where disks can be plugged in later.
func addRest(vc *vz.VirtualMachineConfiguration, c config) error {
	socket, err := vz.NewVirtioSocketDeviceConfiguration()
	if err != nil {
		return fmt.Errorf("vsock: %w", err)
	}
	vc.SetSocketDevicesVirtualMachineConfiguration([]vz.SocketDeviceConfiguration{socket})
	entropy, err := vz.NewVirtioEntropyDeviceConfiguration()
	if err != nil {
		return fmt.Errorf("entropy: %w", err)
	}
	vc.SetEntropyDevicesVirtualMachineConfiguration([]*vz.VirtioEntropyDeviceConfiguration{entropy})
	balloon, err := vz.NewVirtioTraditionalMemoryBalloonDeviceConfiguration()
	if err != nil {
		return fmt.Errorf("balloon: %w", err)
	}
	vc.SetMemoryBalloonDevicesVirtualMachineConfiguration([]vz.MemoryBalloonDeviceConfiguration{balloon})
	if !c.hotPlug {
		return nil
	}
	usb, err := vz.NewXHCIControllerConfiguration()
	if err != nil {
		return fmt.Errorf("usb: %w", err)
	}
	vc.SetUSBControllersVirtualMachineConfiguration([]vz.USBControllerConfiguration{usb})
	return nil
}

// virtualMachine is one machine of the framework.
type virtualMachine struct {
	vm     *vz.VirtualMachine
	config *vz.VirtualMachineConfiguration

	mu      sync.Mutex
	plugged map[string]vz.USBDevice

	end chan error
}

// watch waits for the machine's end.
func (m *virtualMachine) watch() {
	for state := range m.vm.StateChangedNotify() {
		switch state {
		case vz.VirtualMachineStateStopped:
			m.end <- nil
			return
		case vz.VirtualMachineStateError:
			m.end <- fmt.Errorf("the framework reports an error of the machine")
			return
		default:
		}
	}
}

func (m *virtualMachine) start() error        { return m.vm.Start() }
func (m *virtualMachine) stop() error         { return m.vm.Stop() }
func (m *virtualMachine) pause() error        { return m.vm.Pause() }
func (m *virtualMachine) resume() error       { return m.vm.Resume() }
func (m *virtualMachine) ended() <-chan error { return m.end }

func (m *virtualMachine) connect(port uint32) (net.Conn, error) {
	device, err := m.vsock()
	if err != nil {
		return nil, err
	}
	conn, err := device.Connect(port)
	if err != nil {
		return nil, err // not conn: a nil pointer in an interface is not nil
	}
	return conn, nil
}

func (m *virtualMachine) listen(port uint32) (net.Listener, error) {
	device, err := m.vsock()
	if err != nil {
		return nil, err
	}
	l, err := device.Listen(port)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (m *virtualMachine) vsock() (*vz.VirtioSocketDevice, error) {
	devices := m.vm.SocketDevices()
	if len(devices) == 0 {
		return nil, fmt.Errorf("the machine has no vsock device")
	}
	return devices[0], nil
}

func (m *virtualMachine) plug(d disk) error {
	attachment, err := attach(d)
	if err != nil {
		return err
	}
	c, err := vz.NewUSBMassStorageDeviceConfiguration(attachment)
	if err != nil {
		return err
	}
	device, err := vz.NewUSBMassStorageDevice(c)
	if err != nil {
		return err
	}
	controllers := m.vm.USBControllers()
	if len(controllers) == 0 {
		return fmt.Errorf("the machine has no USB controller")
	}
	if err := controllers[0].Attach(device); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.plugged[d.id] = device
	return nil
}

func (m *virtualMachine) unplug(id string) error {
	m.mu.Lock()
	device := m.plugged[id]
	m.mu.Unlock()
	if device == nil {
		return nil
	}
	if err := m.vm.USBControllers()[0].Detach(device); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.plugged, id)
	return nil
}
