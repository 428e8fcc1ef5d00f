// Package ext4 writes template disks and checks ext4 files.
package ext4

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
)

// maxDisk bounds a template disk, and with it the space kept for group descriptors. It
// is far above what the largest allowed image needs: its files, an inode each, and whole block
// groups for many small files.
const maxDisk = 256 << 30

const pipeBuffer = 256 << 10

// Write writes to f, which is empty, an ext4 file system that holds what writeTar writes
// as a tar stream, in bounded memory but for the list of files. Blocks of zeros become
// holes. It returns the size of the disk, a multiple of 4096.
func Write(ctx context.Context, f *os.File, writeTar func(io.Writer) error) (int64, error) {
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		bw := bufio.NewWriterSize(pw, pipeBuffer)
		err := writeTar(bw)
		if err == nil {
			err = bw.Flush()
		}
		pw.CloseWithError(err)
		done <- err
	}()
	// The pipe ends the work on both of its sides.
	stop := context.AfterFunc(ctx, func() { pw.CloseWithError(context.Cause(ctx)) })
	defer stop()
	out := NewSparse(f)
	err := tar2ext4.ConvertTarToExt4(pr, out, tar2ext4.MaximumDiskSize(maxDisk))
	pr.CloseWithError(io.ErrClosedPipe)
	tarErr := <-done
	if err == nil {
		err = tarErr
	}
	if err != nil {
		return 0, fmt.Errorf("write ext4: %w", err)
	}
	size, err := out.Finish()
	if err != nil {
		return 0, err
	}
	return size, padInodeBitmaps(f)
}
