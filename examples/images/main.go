// Command images makes the images that the examples run, without any registry, from a
// static busybox and a Go program built on the spot:
//
//	go run ./examples/images -busybox /bin/busybox -out build/images
//
// writes the OCI layouts busybox (tagged with busybox's version) and tiny (tagged 1). The
// same inputs give the same images.
package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/firkin-dev/firkin-reconcile/image/makeimage"
)

func main() {
	busybox := flag.String("busybox", "/bin/busybox", "a static busybox that runs here (Debian: package busybox-static)")
	out := flag.String("out", "build/images", "the `directory` to write the layouts to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *busybox, *out)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, busybox, out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	img, version, err := busyboxImage(ctx, busybox)
	if err != nil {
		return fmt.Errorf("busybox: %w", err)
	}
	if err := write(filepath.Join(out, "busybox"), version, img); err != nil {
		return err
	}
	if img, err = tinyImage(ctx); err != nil {
		return fmt.Errorf("tiny: %w", err)
	}
	return write(filepath.Join(out, "tiny"), "1", img)
}

func write(dir, tag string, img v1.Image) error {
	if err := makeimage.WriteLayout(dir, map[string]v1.Image{tag: img}); err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("oci:%s:%s %s\n", dir, tag, digest)
	return nil
}

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// busyboxImage has busybox and a symbolic link for each of its applets, root, two users
// and the directories that programs expect.
func busyboxImage(ctx context.Context, bin string) (v1.Image, string, error) {
	data, err := os.ReadFile(bin)
	if err != nil {
		return nil, "", err
	}
	version, err := busyboxVersion(ctx, bin)
	if err != nil {
		return nil, "", err
	}
	list, err := exec.CommandContext(ctx, bin, "--list").Output()
	if err != nil {
		return nil, "", fmt.Errorf("%s --list: %w", bin, err)
	}
	files := []makeimage.File{
		{Path: "bin/"},
		{Path: "bin/busybox", Mode: 0o755, Data: data},
		{Path: "dev/"},
		{Path: "etc/"},
		{Path: "etc/group", Data: []byte("root:x:0:\nnobody:x:65534:\nfirkin:x:1000:\n")},
		{Path: "etc/passwd", Data: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nfirkin:x:1000:1000::/home/firkin:/bin/sh\n")},
		{Path: "home/"},
		{Path: "home/firkin/", UID: 1000, GID: 1000},
		{Path: "proc/"},
		{Path: "root/", Mode: 0o700},
		{Path: "run/"},
		{Path: "sys/"},
		{Path: "tmp/", Mode: 0o1777},
		{Path: "usr/"},
		{Path: "usr/bin", Symlink: "../bin"},
		{Path: "var/"},
		{Path: "var/tmp/", Mode: 0o1777},
	}
	for _, applet := range slices.Sorted(strings.Lines(string(list))) {
		if applet = strings.TrimSpace(applet); applet != "" && applet != "busybox" {
			files = append(files, makeimage.File{Path: "bin/" + applet, Symlink: "busybox"})
		}
	}
	layer, err := makeimage.Layer(files...)
	if err != nil {
		return nil, "", err
	}
	img, err := makeimage.Image(runtime.GOARCH, v1.Config{Cmd: []string{"sh"}, Env: []string{path}}, layer)
	return img, version, err
}

var versionLine = regexp.MustCompile(`^BusyBox v([0-9.]+)`)

func busyboxVersion(ctx context.Context, bin string) (string, error) {
	out, err := exec.CommandContext(ctx, bin, "--help").Output()
	if err != nil {
		return "", fmt.Errorf("%s --help: %w", bin, err)
	}
	line, _, err := bufio.NewReader(bytes.NewReader(out)).ReadLine()
	if err != nil {
		return "", err
	}
	m := versionLine.FindSubmatch(line)
	if m == nil {
		return "", fmt.Errorf("%s says %q and no version", bin, line)
	}
	return string(m[1]), nil
}

// tinyImage has nothing but one static program.
func tinyImage(ctx context.Context) (v1.Image, error) {
	dir, err := os.MkdirTemp("", "images")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "tiny")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", bin,
		"github.com/firkin-dev/firkin-reconcile/examples/images/tiny")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	data, err := os.ReadFile(bin)
	if err != nil {
		return nil, err
	}
	layer, err := makeimage.Layer(makeimage.File{Path: "tiny", Mode: 0o755, Data: data})
	if err != nil {
		return nil, err
	}
	return makeimage.Image(runtime.GOARCH, v1.Config{Entrypoint: []string{"/tiny"}, User: "65534:65534", Env: []string{path}}, layer)
}
