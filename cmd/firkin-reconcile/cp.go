package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// fileChunk is how much of a file goes into one message.
const fileChunk = 64 << 10

// podFile is a file in an emptyDir of a pod.
type podFile struct {
	pod, volume, path string
}

func (a *app) cpCommand() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:   "cp SRC POD:VOLUME/PATH | cp POD:VOLUME/PATH DST",
		Short: "Copy a file into an emptyDir of a running pod, or out of it",
		Long: `Copy a file into an emptyDir of a running pod, or out of it. "-" is stdin or stdout.
A local name with a colon is written with a leading ./`,
		Example: `  firkin-reconcile cp nginx.conf web:config/nginx.conf
  firkin-reconcile cp web:data/dump.sql - | gzip > dump.sql.gz`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, remoteFrom, err := parseFile(args[0])
			if err != nil {
				return err
			}
			to, remoteTo, err := parseFile(args[1])
			if err != nil {
				return err
			}
			switch {
			case remoteFrom == remoteTo:
				return usagef("cp: one of the two is POD:VOLUME/PATH, the other a local file")
			case remoteTo:
				return a.copyIn(cmd.Context(), args[0], to, namespace)
			default:
				return a.copyOut(cmd.Context(), from, args[1], namespace)
			}
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "the pod's namespace")
	return cmd
}

// parseFile tells a file in a pod from a local one.
func parseFile(arg string) (f podFile, remote bool, err error) {
	pod, rest, ok := strings.Cut(arg, ":")
	if !ok || pod == "" || strings.HasPrefix(pod, ".") || strings.HasPrefix(pod, "/") {
		return podFile{}, false, nil
	}
	volume, name, _ := strings.Cut(rest, "/")
	if volume == "" {
		return podFile{}, false, usagef("cp: %q names no emptyDir: it is POD:VOLUME/PATH", arg)
	}
	return podFile{pod: pod, volume: volume, path: name}, true, nil
}

// agentOf finds the agent of a file's pod, and checks that the pod has the volume.
func (s *stack) agentOf(f podFile, namespace string) (agentpb.AgentClient, error) {
	p, err := s.find(f.pod, namespace)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range p.EmptyDirs {
		names = append(names, e.Name)
		if e.Name == f.volume {
			return s.actual.Agent(p.Ref)
		}
	}
	return nil, remedy(fmt.Errorf("pod %s has no emptyDir %q", p.Ref, f.volume), "it has: %s", strings.Join(append(names, "<no others>"), ", "))
}

func (a *app) copyIn(ctx context.Context, local string, to podFile, namespace string) (err error) {
	src := a.stdin
	if local != "-" {
		f, err := os.Open(local)
		if err != nil {
			return err
		}
		defer f.Close()
		if info, err := f.Stat(); err != nil {
			return err
		} else if !info.Mode().IsRegular() {
			return fmt.Errorf("cp: %s is not a regular file", local)
		}
		src = f
	}
	if to.path == "" || strings.HasSuffix(to.path, "/") {
		if local == "-" {
			return usagef("cp: stdin needs the name of a file to become")
		}
		to.path = path.Join(to.path, filepath.Base(local))
	}
	s, err := a.look(ctx, to.pod)
	if err != nil {
		return err
	}
	defer s.close()
	agent, err := s.agentOf(to, namespace)
	if err != nil {
		return err
	}
	// A blocked read of stdin cannot be interrupted; its goroutine then ends with the process.
	written := make(chan error, 1)
	go func() { written <- writeFile(ctx, agent, src, to) }()
	select {
	case err = <-written:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("write %s:%s/%s: %w", to.pod, to.volume, to.path, agentCause(err))
	}
	return nil
}

func writeFile(ctx context.Context, agent agentpb.AgentClient, src io.Reader, to podFile) error {
	// Leaving early abandons the file in the guest.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := agent.WriteFile(ctx)
	if err != nil {
		return err
	}
	target := &agentpb.WriteFileRequest_Target{EmptyDir: to.volume, Path: to.path}
	err = stream.Send(&agentpb.WriteFileRequest{Message: &agentpb.WriteFileRequest_Target_{Target: target}})
	buf := make([]byte, fileChunk)
	for err == nil {
		var n int
		n, err = io.ReadFull(src, buf)
		if n > 0 {
			if sent := stream.Send(&agentpb.WriteFileRequest{Message: &agentpb.WriteFileRequest_Data{Data: buf[:n]}}); sent != nil {
				break // CloseAndRecv says why
			}
		}
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	_, err = stream.CloseAndRecv()
	return err
}

func (a *app) copyOut(ctx context.Context, from podFile, local, namespace string) error {
	if from.path == "" || strings.HasSuffix(from.path, "/") {
		return usagef("cp: %s:%s/%s is a directory; only files are copied", from.pod, from.volume, from.path)
	}
	s, err := a.look(ctx, from.pod)
	if err != nil {
		return err
	}
	defer s.close()
	agent, err := s.agentOf(from, namespace)
	if err != nil {
		return err
	}
	if local == "-" {
		return readFile(ctx, agent, from, a.stdout)
	}
	if info, err := os.Stat(local); err == nil && info.IsDir() {
		local = filepath.Join(local, path.Base(from.path))
	}
	if info, err := os.Stat(local); err == nil && !info.Mode().IsRegular() {
		// A device or a pipe is written to; replacing it would break the host's.
		f, err := os.OpenFile(local, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(readFile(ctx, agent, from, f), f.Close())
	}
	if real, err := filepath.EvalSymlinks(local); err == nil {
		local = real
	}
	f, err := renameio.NewPendingFile(local, renameio.WithPermissions(0o644), renameio.WithExistingPermissions(), renameio.WithTempDir(filepath.Dir(local)))
	if err != nil {
		return fmt.Errorf("write %s: %w", local, err)
	}
	if err := readFile(ctx, agent, from, f); err != nil {
		return errors.Join(err, f.Cleanup())
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("write %s: %w", local, err)
	}
	return nil
}

func readFile(ctx context.Context, agent agentpb.AgentClient, from podFile, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := agent.ReadFile(ctx, &agentpb.ReadFileRequest{EmptyDir: from.volume, Path: from.path})
	for err == nil {
		var chunk *agentpb.ReadFileResponse
		if chunk, err = stream.Recv(); err != nil {
			break
		}
		if _, err := w.Write(chunk.GetData()); err != nil {
			return err
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("read %s:%s/%s: %w", from.pod, from.volume, from.path, agentCause(err))
}
