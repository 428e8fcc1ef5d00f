package desired

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// busy tells whether somebody has the file open for writing. The kernel grants a
// read lease only while nobody has; it is given back at once. Where leases do not
// work (network file systems, files of others) the answer is no, and settling alone decides.
func busy(f *os.File) bool {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
		return false
	}
	return err == unix.EAGAIN
}

func changeTime(st *syscall.Stat_t) int64 { return st.Ctim.Nano() }
