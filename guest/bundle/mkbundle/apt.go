package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/bundle"
)

// listsMaxAge is how old package lists may be before they are fetched anew: a
// day, so that a build picks up security updates without asking every time.
const listsMaxAge = 24 * time.Hour

// repo fetches packages of one architecture with apt, in a private root: neither
// the host's package lists nor its architectures are touched. The sources and
// keys are the host's.
type repo struct {
	arch string // Debian's name
	dir  string // absolute
	log  *slog.Logger
}

// openRepo makes the private root in dir and brings its package lists up to date.
func openRepo(ctx context.Context, dir, arch string, log *slog.Logger) (*repo, error) {
	r := &repo{arch: arch, dir: dir, log: log}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "debs"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("make apt root: %w", err)
		}
	}
	// With an empty status file no package counts as installed.
	if err := os.WriteFile(filepath.Join(dir, "status"), nil, 0o644); err != nil {
		return nil, fmt.Errorf("make apt root: %w", err)
	}
	return r, r.update(ctx)
}

func (r *repo) update(ctx context.Context) error {
	stamp := filepath.Join(r.dir, "updated")
	info, err := os.Stat(stamp)
	have := err == nil
	if have && time.Since(info.ModTime()) < listsMaxAge {
		return nil
	}
	r.log.Info("fetching package lists", "arch", r.arch)
	if _, err := r.apt(ctx, "apt-get", "update"); err != nil {
		if !have {
			return err
		}
		r.log.Warn("package lists not refreshed, using older ones", "err", err)
		return nil
	}
	if err := os.WriteFile(stamp, nil, 0o644); err != nil {
		return fmt.Errorf("stamp package lists: %w", err)
	}
	return nil
}

// apt runs an apt tool in the private root and returns what it printed.
func (r *repo) apt(ctx context.Context, tool string, args ...string) (string, error) {
	return r.aptIn(ctx, r.dir, tool, args...)
}

func (r *repo) aptIn(ctx context.Context, dir, tool string, args ...string) (string, error) {
	options := []string{
		"-q",
		"-o", "APT::Architecture=" + r.arch,
		"-o", "APT::Architectures=" + r.arch,
		"-o", "APT::Sandbox::User=root",
		"-o", "Acquire::Languages=none",
		"-o", "Dir::State=" + filepath.Join(r.dir, "state"),
		"-o", "Dir::State::status=" + filepath.Join(r.dir, "status"),
		"-o", "Dir::Cache=" + filepath.Join(r.dir, "cache"),
	}
	cmd := exec.CommandContext(ctx, tool, append(options, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := output(cmd)
	if err != nil {
		return "", fmt.Errorf("run %s %s: %w", tool, strings.Join(args, " "), err)
	}
	return string(out), nil
}

// output runs a command and returns what it printed, or how it ended with its last complaint.
func output(cmd *exec.Cmd) ([]byte, error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, lastLine(stderr.String()))
	}
	return out, nil
}

// dependency returns the first dependency of a package whose name starts with prefix.
func (r *repo) dependency(ctx context.Context, pkg, prefix string) (string, error) {
	out, err := r.apt(ctx, "apt-cache", "depends", pkg)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		name, ok := strings.CutPrefix(strings.TrimPrefix(strings.TrimSpace(line), "Pre"), "Depends: ")
		if ok && strings.HasPrefix(name, prefix) {
			return name, nil
		}
	}
	return "", fmt.Errorf("package %s: depends on no %s*", pkg, prefix)
}

// fetch downloads the candidate versions of packages, unless they are there already,
// and unpacks them into root. The result is in the order asked for.
func (r *repo) fetch(ctx context.Context, root string, names []string) ([]bundle.Package, error) {
	// Not where the files are: apt prints nothing for those it finds.
	out, err := r.apt(ctx, "apt-get", append([]string{"download", "--print-uris"}, names...)...)
	if err != nil {
		return nil, err
	}
	files, err := parseURIs(out)
	if err != nil {
		return nil, err
	}
	if len(files) != len(names) {
		return nil, fmt.Errorf("fetch packages: asked for %d, apt offers %d", len(names), len(files))
	}
	var pkgs []bundle.Package
	for _, f := range files {
		path := filepath.Join(r.dir, "debs", f.file)
		if err := f.check(path); err != nil {
			r.log.Info("downloading", "package", f.name, "version", f.version, "bytes", f.bytes)
			if _, err := r.aptIn(ctx, filepath.Dir(path), "apt-get", "download", f.name+"="+f.version); err != nil {
				return nil, err
			}
			if err := f.check(path); err != nil {
				return nil, err
			}
		}
		if _, err := output(exec.CommandContext(ctx, "dpkg-deb", "-x", path, root)); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", f.file, err)
		}
		pkgs = append(pkgs, bundle.Package{Name: f.name, Version: f.version, SHA256: f.sha256})
	}
	return pkgs, nil
}

// debFile is one package file apt offers.
type debFile struct {
	name, version, file, sha256 string
	bytes                       int64
}

// parseURIs reads the lines of apt-get download --print-uris:
// 'URI' FILE BYTES SHA256:HEX, where FILE is NAME_VERSION_ARCH.deb with ":" as %3a.
func parseURIs(out string) ([]debFile, error) {
	var files []debFile
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "'") {
			continue
		}
		var f debFile
		var uri, hash string
		if _, err := fmt.Sscan(lines.Text(), &uri, &f.file, &f.bytes, &hash); err != nil {
			return nil, fmt.Errorf("parse apt output %q: %w", lines.Text(), err)
		}
		var ok bool
		if f.sha256, ok = strings.CutPrefix(hash, "SHA256:"); !ok {
			return nil, fmt.Errorf("parse apt output %q: no SHA256", lines.Text())
		}
		parts := strings.Split(strings.TrimSuffix(f.file, ".deb"), "_")
		if len(parts) != 3 || f.file != filepath.Base(f.file) {
			return nil, fmt.Errorf("parse apt output: file name %q", f.file)
		}
		f.name, f.version = parts[0], strings.ReplaceAll(parts[1], "%3a", ":")
		files = append(files, f)
	}
	return files, lines.Err()
}

// check compares a downloaded file with what apt's signed lists say.
func (f *debFile) check(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("check package: %w", err)
	}
	defer func() { _ = file.Close() }() // only read
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return fmt.Errorf("check package %s: %w", path, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != f.sha256 {
		err := fmt.Errorf("check package %s: sha256 is %s, want %s", path, got, f.sha256)
		if rmErr := os.Remove(path); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
		return err
	}
	return nil
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
