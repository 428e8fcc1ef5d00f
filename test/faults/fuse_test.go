//go:build linux

package faults

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"testing"
)

// Requests of the FUSE protocol that are answered otherwise than with an error, or not at all.
const (
	fuseForget      = 2
	fuseGetattr     = 3
	fuseInit        = 26
	fuseInterrupt   = 36
	fuseBatchForget = 42
	fuseStatx       = 52
)

// Sizes of what starts requests and answers, and of the answers to those that are answered.
const (
	fuseInHeader  = 40
	fuseOutHeader = 16
	fuseInitOut   = 64
	fuseAttrOut   = 104
)

// brokenDisk mounts a file system over dir whose every access fails with EIO, except that
// its root can be looked at if rootVisible. The returned function takes it away.
func brokenDisk(t testing.TB, dir string, rootVisible bool) (undo func()) {
	t.Helper()
	fuse := mountFuse(t, dir)
	done := make(chan struct{})
	go func() {
		defer close(done)
		serveBroken(fuse, rootVisible)
	}()
	return func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
		<-done // the kernel says that it is over
		if err := syscall.Close(fuse); err != nil {
			t.Error(err)
		}
	}
}

// mountFuse mounts a file system over dir; what is asked of it comes to the descriptor.
func mountFuse(t testing.TB, dir string) (fuse int) {
	t.Helper()
	fuse, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other", fuse)
	if err := syscall.Mount("faults", dir, "fuse", syscall.MS_NODEV|syscall.MS_NOSUID, options); err != nil {
		t.Fatal(errors.Join(err, syscall.Close(fuse)))
	}
	return fuse
}

// serveBroken answers until the file system is unmounted.
func serveBroken(fuse int, rootVisible bool) {
	request := make([]byte, 1<<20)
	for {
		n, err := syscall.Read(fuse, request)
		switch {
		case err == syscall.EINTR || err == syscall.EAGAIN || err == syscall.ENOENT:
			continue
		case err != nil || n < fuseInHeader:
			return
		}
		answer := answerBroken(binary.LittleEndian.Uint32(request[4:]), rootVisible && binary.LittleEndian.Uint64(request[16:]) == 1)
		if answer == nil {
			continue
		}
		binary.LittleEndian.PutUint32(answer, uint32(len(answer)))
		copy(answer[8:fuseOutHeader], request[8:fuseOutHeader]) // the request's number
		_, _ = syscall.Write(fuse, answer)                      // one that was interrupted takes none
	}
}

// answerBroken makes the answer to a kind of request; nil when it gets none.
func answerBroken(opcode uint32, visible bool) []byte {
	le := binary.LittleEndian
	switch {
	case opcode == fuseForget, opcode == fuseBatchForget, opcode == fuseInterrupt:
		return nil
	case opcode == fuseInit:
		answer := make([]byte, fuseOutHeader+fuseInitOut)
		body := answer[fuseOutHeader:]
		le.PutUint32(body, 7)
		le.PutUint32(body[4:], 31)
		le.PutUint32(body[20:], 4096) // the most that is written at once
		return answer
	case opcode == fuseGetattr && visible:
		answer := make([]byte, fuseOutHeader+fuseAttrOut)
		attr := answer[fuseOutHeader+16:]
		le.PutUint64(attr, 1)
		le.PutUint32(attr[60:], syscall.S_IFDIR|0o755)
		le.PutUint32(attr[64:], 2)
		return answer
	}
	failure := -int32(syscall.EIO)
	if opcode == fuseStatx && visible {
		failure = -int32(syscall.ENOSYS) // it asks in the older way
	}
	answer := make([]byte, fuseOutHeader)
	le.PutUint32(answer[4:], uint32(failure))
	return answer
}
