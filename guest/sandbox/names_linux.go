package sandbox

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// ConfigureDns implements sandboxpb.SandboxContextServer.
func (s Service) ConfigureDns(_ context.Context, req *sandboxpb.ConfigureDnsRequest) (*sandboxpb.ConfigureDnsResponse, error) { //nolint:revive,staticcheck // named by the contract
	text, err := resolvConf(req)
	if err == nil {
		err = replaceInEtc(req.GetLocation(), "resolv.conf", text)
	}
	if err != nil {
		return nil, failure(err, "configure names")
	}
	return &sandboxpb.ConfigureDnsResponse{}, nil
}

// ConfigureHosts implements sandboxpb.SandboxContextServer.
func (s Service) ConfigureHosts(_ context.Context, req *sandboxpb.ConfigureHostsRequest) (*sandboxpb.ConfigureHostsResponse, error) {
	text, err := hostsFile(req)
	if err == nil {
		err = replaceInEtc(req.GetLocation(), "hosts", text)
	}
	if err != nil {
		return nil, failure(err, "configure hosts")
	}
	return &sandboxpb.ConfigureHostsResponse{}, nil
}

// replaceInEtc puts a file into etc below a root file system, in place of whatever has its name:
// images have links there that lead to what only their own first process would make.
func replaceInEtc(location, name, text string) (err error) {
	root, err := os.OpenRoot(location)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // opened to look below it
	dir, err := resolveDir(root, "etc")
	if err != nil {
		return err
	}
	if err := root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	etc, err := root.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = etc.Close() }() // as above
	temporary := "." + name + ".new"
	if err := etc.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := etc.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return errors.Join(err, etc.Remove(temporary))
	}
	return etc.Rename(temporary, name)
}
