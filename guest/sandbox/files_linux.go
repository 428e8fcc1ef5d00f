package sandbox

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// permissions are the bits of a mode that a request may set.
func permissions(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{
		unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky,
	} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	return m
}

// Mkdir implements sandboxpb.SandboxContextServer. Without all, one that is there is
// AlreadyExists. Without permissions it is 0755.
func (s Service) Mkdir(_ context.Context, req *sandboxpb.MkdirRequest) (*sandboxpb.MkdirResponse, error) {
	if err := mkdir(req); err != nil {
		return nil, failure(err, "make directory")
	}
	return &sandboxpb.MkdirResponse{}, nil
}

func mkdir(req *sandboxpb.MkdirRequest) error {
	mode := fs.FileMode(0o755)
	if req.GetPerms() != 0 {
		mode = permissions(req.GetPerms())
	}
	if req.GetAll() {
		if info, err := os.Stat(req.GetPath()); err == nil && info.IsDir() {
			return nil
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Clean(req.GetPath())), mode); err != nil {
			return err
		}
	}
	if err := os.Mkdir(req.GetPath(), mode); err != nil {
		return err
	}
	return os.Chmod(req.GetPath(), mode) // whatever the umask
}

// WriteFile implements sandboxpb.SandboxContextServer. A file that is there is overwritten, unless
// data is to be appended, and keeps its mode; a new one without a mode is 0644.
func (s Service) WriteFile(_ context.Context, req *sandboxpb.WriteFileRequest) (*sandboxpb.WriteFileResponse, error) {
	if err := writeFile(req); err != nil {
		return nil, failure(err, "write file")
	}
	return &sandboxpb.WriteFileResponse{}, nil
}

func writeFile(req *sandboxpb.WriteFileRequest) error {
	flags := os.O_WRONLY | os.O_TRUNC | unix.O_NONBLOCK // not to wait for the reader of a named pipe
	if req.GetFlags().GetAppend() {
		flags = flags&^os.O_TRUNC | os.O_APPEND
	}
	if req.GetFlags().GetCreateParentDirs() {
		if err := os.MkdirAll(filepath.Dir(req.GetPath()), 0o755); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(req.GetPath(), flags, 0)
	if errors.Is(err, fs.ErrNotExist) && req.GetFlags().GetCreateIfMissing() {
		f, err = createFile(req.GetPath(), flags, req.GetMode())
	}
	if err != nil {
		return err
	}
	_, err = f.Write(req.GetData())
	return errors.Join(err, f.Close())
}

// createFile makes a file with a mode, whatever the umask; 0 is 0644.
func createFile(path string, flags int, mode uint32) (*os.File, error) {
	perm := fs.FileMode(0o644)
	if mode != 0 {
		perm = permissions(mode)
	}
	f, err := os.OpenFile(path, flags|os.O_CREATE, perm)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(perm); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Stat implements sandboxpb.SandboxContextServer. Links are followed.
func (s Service) Stat(_ context.Context, req *sandboxpb.StatRequest) (*sandboxpb.StatResponse, error) {
	var r sandboxpb.StatResponse
	var err error
	if r.Stat, err = stat(req.GetPath()); err != nil {
		r.Error = err.Error()
	}
	return &r, nil
}

func stat(path string) (*sandboxpb.Stat, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	at := func(t unix.Timespec) *timestamppb.Timestamp {
		return &timestamppb.Timestamp{Seconds: t.Sec, Nanos: int32(t.Nsec)}
	}
	return &sandboxpb.Stat{
		Dev: st.Dev, Ino: st.Ino, Mode: st.Mode, Uid: st.Uid, Gid: st.Gid, Rdev: st.Rdev, Size: st.Size, Blocks: st.Blocks,
		Nlink: uint64(st.Nlink), Blksize: int64(st.Blksize), //nolint:unconvert // narrower on arm64
		Atime: at(st.Atim), Mtime: at(st.Mtim), Ctime: at(st.Ctim),
	}, nil
}

// RemovePath implements sandboxpb.SandboxContextServer. A link is removed, not what it leads to;
// without recursive a directory must be empty.
func (s Service) RemovePath(_ context.Context, req *sandboxpb.RemovePathRequest) (*sandboxpb.RemovePathResponse, error) {
	if err := removePath(req); err != nil {
		return nil, failure(err, "remove")
	}
	return &sandboxpb.RemovePathResponse{}, nil
}

func removePath(req *sandboxpb.RemovePathRequest) error {
	path := filepath.Clean(req.GetPath())
	if !filepath.IsAbs(path) || path == "/" {
		return invalid("path %q is not absolute, or all there is", req.GetPath())
	}
	_, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && req.GetAllowMissing():
		return nil
	case err != nil:
		return err
	case req.GetRecursive():
		return os.RemoveAll(path)
	}
	err = os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) && req.GetAllowMissing() {
		return nil
	}
	return err
}
